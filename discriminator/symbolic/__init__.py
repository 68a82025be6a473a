"""The groups of symbolic features that `discriminator.features` puts together; no torch in here."""
