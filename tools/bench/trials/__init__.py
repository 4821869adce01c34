"""Jobs around a network at three sizes, done by darknet_py and by other libraries."""
