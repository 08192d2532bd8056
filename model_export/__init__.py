"""From a model configuration to a task package that phones can train.

Models are plain `nn.Module`s (`models`); their training steps are written out as graphs with
analytic gradients (`graphs`), lowered for the stock ExecuTorch runtime (`lowering`), checked
against eager PyTorch (`gradient_check`) and packaged (`package`).
"""
