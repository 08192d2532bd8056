package org.fedvoice.sdk

import android.util.Log
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.training.Recording
import org.fedvoice.core.training.reasonAgainst
import java.util.concurrent.ConcurrentHashMap

/**
 * Warns in the log of examples that the phone's task cannot use, once for each reason while the app
 * runs: an app that keeps long recordings would say it with every one otherwise.
 *
 * @param task the one that the phone was last given; null before the first has come
 */
internal class UsageWarnings(private val task: () -> TaskManifest?) {
    private val said: MutableSet<String> = ConcurrentHashMap.newKeySet()

    /** Looks at an example that was added; never fails, as the example is kept in any case. */
    fun warnOf(example: Recording) {
        try {
            val task = task() ?: return
            val reason = reasonAgainst(example, task) ?: return
            if (!said.add(reason)) return
            Log.w(
                TAG,
                "${example.where} is kept, but the present task cannot use it: $reason " +
                    "(${example.samples} samples at ${example.sampleRate} Hz; the task takes " +
                    "${task.features.sampleRate} Hz). FedVoice.usage() counts such examples; " +
                    "further ones with this reason are not logged.",
            )
        } catch (error: FedvoiceException) {
            // The code alone: messages may quote the transcript, which no log may hold.
            Log.w(TAG, "the example was not compared with the task: ${error.code.id}")
        }
    }
}
