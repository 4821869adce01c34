"""Data sets in the form that Darknet reads: converted from COCO's and VOC's annotations, or drawn."""
