"""Networks: backbones of four stages, DeepLabV3+ with its auxiliary head, and the categorical memory."""
