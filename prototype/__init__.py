"""The packet path in user space: what needs no kernel, such as the order of what arrived."""
