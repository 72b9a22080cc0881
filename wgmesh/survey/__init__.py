"""What `wgmesh doctor` looks at: the kernel's side and the machine's. It changes nothing."""
