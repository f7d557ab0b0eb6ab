"""`make bench`: what this library costs, beside its peers and beside the limit of the machine."""
