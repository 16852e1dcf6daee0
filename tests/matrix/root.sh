# What the guest runs first. Its root is the host's, over 9p, which keeps nothing in memory and writes
# nowhere; below the tests is another one that does, under a layer in the guest's own memory.
set -eu
mkdir /run/host /run/layer /run/root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /run/host
mount -t tmpfs tmpfs /run/layer
mkdir /run/layer/files /run/layer/work
mount -t overlay -o lowerdir=/run/host,upperdir=/run/layer/files,workdir=/run/layer/work \
    overlay /run/root
for each in proc sys dev usr/lib/modules; do mount --rbind /$each /run/root/$each; done
mount -t tmpfs tmpfs /run/root/run
mkdir /run/root/run/matrix
mount --bind /run/matrix /run/root/run/matrix
exec chroot /run/root "$@"
