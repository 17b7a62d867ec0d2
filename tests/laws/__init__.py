"""Laws: what must hold for every history, tried against generated ones and against an oracle written apart."""
