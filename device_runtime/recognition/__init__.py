"""Recognition chunk by chunk: samples in, partial and final texts out, as speech is heard.

The search, language models and endpoints are pure; `recogniser` ties them to an engine. The Kotlin
phone has the same. Callers: `fedvoice transcribe`, benchmarks.
"""
