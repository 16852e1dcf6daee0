"""The control plane: policies, compilation, datapath, overlay discovery, stock steering."""
