"""Networks: backbones of four stages with their norms, DeepLab V2, V3 and V3+, and the categorical memory."""
