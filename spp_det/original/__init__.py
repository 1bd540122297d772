"""The files of the paper's and of R-CNN's releases: Caffe networks, MATLAB's models. Boxes are read in proposals/."""

from spp_det.original.caffemodel import convert_caffemodel, read_caffemodel
from spp_det.original.models import convert_models, read_regressor, read_svms

__all__ = ["convert_caffemodel", "convert_models", "read_caffemodel", "read_regressor", "read_svms"]
