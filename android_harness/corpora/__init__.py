"""Speech for fleets: corpora become manifests (`protocol.utterances`), manifests become phones."""
