"""A trained model in any format that we read, in; a :class:`~lepton_ai.model.model.Model` out."""
