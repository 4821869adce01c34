"""Benches: what darknet_py costs, by itself and beside other libraries."""
