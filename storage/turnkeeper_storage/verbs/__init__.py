"""The transactions of PROTOCOL §2, one file each: what may change together, in the order that it must."""
