package org.fedvoice.sdk

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.AudioFacts
import org.fedvoice.core.store.USUAL_RATES
import org.fedvoice.core.store.isWav
import org.fedvoice.core.store.readFacts
import java.io.File

/** Of one recording. */
internal const val LONGEST_SECS = 60

/**
 * A sound file's bytes as wav, and what they say of themselves.
 *
 * @throws FedvoiceException `missing-audio`, `unreadable-audio`, `wrong-sample-rate`
 */
internal fun readRecording(recording: File): Pair<ByteArray, AudioFacts> {
    val isWav = !recording.isFile || isWav(recording)
    // A long file is refused by its header, before it is in memory.
    if (isWav) checkLength(readFacts(Audio.InFile(recording), recording.name))
    val bytes =
        if (isWav) recording.readBytes() else MediaDecoder.decode(recording, recording.name)
    val facts = readFacts(Audio.Held(bytes), recording.name)
    checkRate(facts.sampleRate, recording.name)
    return Pair(bytes, facts)
}

/** @throws FedvoiceException `wrong-sample-rate` for one that is not resampled here */
internal fun checkRate(rate: Int, where: String) {
    if (rate in USUAL_RATES) return
    throw FedvoiceException(
        ErrorCode.WRONG_SAMPLE_RATE,
        where = where,
        got = "$rate Hz",
        wanted = "${USUAL_RATES.first} to ${USUAL_RATES.last} Hz",
        nextStep = "Give the rate that the recording has; usual ones are resampled here.",
    )
}

/** @throws FedvoiceException `unreadable-audio` for more than a minute */
internal fun checkLength(facts: AudioFacts) {
    val limit = facts.sampleRate.toLong() * LONGEST_SECS
    if (facts.samples <= limit) return
    throw FedvoiceException(
        ErrorCode.UNREADABLE_AUDIO,
        where = "addExample",
        got = "${facts.samples} samples",
        wanted = "at most $limit, a minute",
        nextStep = "Add it in shorter parts.",
    )
}
