package com.example.diary

import android.app.Activity
import android.os.Bundle
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.Source
import org.fedvoice.sdk.FedVoice

/** Uses the library as docs/android.md says: enrol, agree, recognise, learn. */
class DiaryActivity : Activity() {
    private val scope = CoroutineScope(Dispatchers.Default)

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        val voice = FedVoice.get(this)
        val status = voice.status
        setContentView(TextView(this).apply { text = "${status.trained} ${voice.exampleCount}" })
    }

    /** The person agrees and brings an invitation. */
    fun agree(invitation: String) {
        scope.launch {
            val voice = FedVoice.get(this@DiaryActivity)
            try {
                voice.enrol(invitation)
                voice.setConsent(true)
            } catch (error: FedvoiceException) {
                runOnUiThread { title = error.nextStep }
            }
        }
    }

    /** An entry was dictated and corrected. */
    fun keep(pcm: ShortArray, corrected: String) {
        scope.launch {
            val voice = FedVoice.get(this@DiaryActivity)
            val heard = voice.recognize(pcm)
            if (heard != corrected) voice.addExample(pcm, RATE, corrected, Source.CORRECTION)
        }
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    private companion object {
        const val RATE = 16000
    }
}
