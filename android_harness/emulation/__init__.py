"""Android's own ExecuTorch binary on a desktop: what is needed to run the Kotlin phone here."""
