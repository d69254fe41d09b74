"""The only thing cloud and device share at run time: codecs and the byte ledger."""
