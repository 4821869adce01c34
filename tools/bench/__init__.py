"""What darknet_py costs, alone and beside others."""
