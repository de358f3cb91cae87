"""What tests of the gateway share."""

from tests.gateway.patience import very_patient

__all__ = ["very_patient"]
