"""The audit trail: hash chains, signed checkpoints, anchors outside, and the judge of all of them."""
