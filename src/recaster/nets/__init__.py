"""Networks and losses as plain torch modules; they know no file and no face."""
