from viz.module_level import draw
