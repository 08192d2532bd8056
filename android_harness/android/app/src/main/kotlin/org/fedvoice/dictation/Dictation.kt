package org.fedvoice.dictation

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.toList
import org.fedvoice.sdk.FedVoice
import org.fedvoice.sdk.HeardText

/**
 * Sound to text: while one speaks where the phone's task can do that, else at the sound's end.
 *
 * @param canListen whether it can
 * @param listen gives what was said so far of each utterance
 * @param recognise gives what was said in a whole recording
 */
internal class Dictation(
    private val canListen: suspend () -> Boolean,
    private val listen: (Flow<ShortArray>) -> Flow<HeardText>,
    private val recognise: suspend (ShortArray) -> String,
) {
    /** All that was said so far, whenever that changes; empty at first. */
    fun texts(sound: Flow<ShortArray>): Flow<String> =
        flow {
            emit("")
            if (canListen()) {
                var before = ""
                listen(sound).collect { heard ->
                    val all = "$before ${heard.text}".trim()
                    if (heard.isFinal) before = all
                    emit(all)
                }
            } else {
                val pieces = sound.toList()
                emit(recognise(joined(pieces)))
            }
        }

    companion object {
        /** By the library. */
        fun of(voice: FedVoice) =
            Dictation(
                voice::canListen,
                { voice.listen(it, Microphone.SAMPLE_RATE) },
                { voice.recognize(it, Microphone.SAMPLE_RATE) },
            )
    }
}

/** Pieces of a recording as one. */
internal fun joined(pieces: List<ShortArray>): ShortArray {
    val whole = ShortArray(pieces.sumOf { it.size })
    var at = 0
    for (piece in pieces) {
        piece.copyInto(whole, at)
        at += piece.size
    }
    return whole
}
