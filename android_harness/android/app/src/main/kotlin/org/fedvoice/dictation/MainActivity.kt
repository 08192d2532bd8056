package org.fedvoice.dictation

import android.Manifest
import android.app.Activity
import android.app.AlertDialog
import android.os.Build
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.Switch
import android.widget.TextView
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.cancel
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.Books
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.sdk.FedVoice

/** Dictate, correct, keep; see what the phone has learnt, sent and spent; switch it off. */
class MainActivity : Activity() {
    private val scope by lazy {
        CoroutineScope(SupervisorJob() + mainExecutor.asCoroutineDispatcher())
    }
    private val voice by lazy { FedVoice.get(this) }
    private val agreement by lazy { (application as DictationApp).consent }
    private val microphone by lazy { Microphone(this) }
    private val record by lazy { findViewById<Button>(R.id.record) }
    private val transcript by lazy { findViewById<EditText>(R.id.transcript) }
    private val keep by lazy { findViewById<Button>(R.id.keep) }
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private val consent by lazy { findViewById<Switch>(R.id.consent) }

    /** Whether nothing is under way; tests wait for it. */
    internal val isIdle: Boolean
        get() =
            scope.coroutineContext.job.children
                .none()

    @Volatile
    private var isRecording = false
    private var heard = ShortArray(0)

    override fun onCreate(savedState: Bundle?) {
        super.onCreate(savedState)
        setContentView(R.layout.main)
        record.setOnClickListener { if (isRecording) isRecording = false else startRecording() }
        keep.setOnClickListener { keepExample() }
        consent.setOnClickListener {
            val given = consent.isChecked
            act { agreement.change(given) }
        }
        findViewById<Button>(R.id.join).setOnClickListener {
            val invitation = findViewById<EditText>(R.id.invitation)
            act(R.string.joined) { voice.enrol(invitation.text.toString().trim()) }
        }
        findViewById<Button>(R.id.train_now).setOnClickListener { learnNow() }
        findViewById<Button>(R.id.delete).setOnClickListener { askBeforeDeleting() }
    }

    override fun onResume() {
        super.onResume()
        showBooks()
    }

    override fun onDestroy() {
        isRecording = false
        scope.cancel()
        super.onDestroy()
    }

    override fun onRequestPermissionsResult(
        code: Int,
        permissions: Array<out String>,
        results: IntArray,
    ) {
        if (code != FOR_MICROPHONE) return
        if (microphone.isAllowed) startRecording() else message.setText(R.string.no_microphone)
    }

    private fun startRecording() {
        if (!microphone.isAllowed) {
            requestPermissions(arrayOf(Manifest.permission.RECORD_AUDIO), FOR_MICROPHONE)
            return
        }
        isRecording = true
        record.setText(R.string.stop)
        act {
            heard = withContext(Dispatchers.IO) { microphone.record { isRecording } }
            isRecording = false
            record.setText(R.string.record)
            keep.isEnabled = heard.isNotEmpty()
            transcript.setText("")
            transcript.setText(voice.recognize(heard))
        }
    }

    private fun keepExample() {
        val text = transcript.text.toString()
        act(R.string.kept) {
            val pcm = heard
            withContext(Dispatchers.IO) {
                voice.addExample(pcm, Microphone.SAMPLE_RATE, text, Source.CORRECTION)
            }
            heard = ShortArray(0)
            keep.isEnabled = false
            transcript.setText("")
        }
    }

    /** The session does not wait for the answer: without the permission it shows nothing. */
    private fun learnNow() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), FOR_NOTIFICATION)
        }
        act { voice.trainNow() }
    }

    private fun askBeforeDeleting() {
        AlertDialog
            .Builder(this)
            .setMessage(R.string.delete_question)
            .setNegativeButton(R.string.delete_no, null)
            .setPositiveButton(R.string.delete_yes) { _, _ ->
                act(R.string.deleted) { voice.deleteEverything() }
            }.show()
    }

    /** Runs [work] and shows how it ended. */
    private fun act(done: Int? = null, work: suspend () -> Unit) {
        message.text = ""
        scope.launch {
            try {
                work()
                done?.let(message::setText)
            } catch (error: FedvoiceException) {
                val isModelless = error.code == ErrorCode.NOT_FOUND
                if (isModelless) {
                    message.setText(R.string.no_model)
                } else {
                    message.text =
                        error.message
                }
            } catch (error: IllegalStateException) {
                message.text = error.message
            } catch (error: IllegalArgumentException) {
                message.text = error.message
            } finally {
                record.setText(R.string.record)
                showBooks()
            }
        }
    }

    internal fun showBooks(books: Books = voice.status) {
        consent.isChecked = agreement.isOn
        val used = books.usage
        findViewById<TextView>(R.id.books).text =
            getString(
                R.string.books,
                books.trained,
                books.examples,
                voice.exampleCount,
                megabytes(books.bytesUp),
                megabytes(books.bytesDown),
                "%.0f s".format(books.trainSecs),
                "%.1f".format(books.chargeMicroampHours / MICROAMP_HOURS),
                books.lastError.ifEmpty { books.lastHappened }.ifEmpty {
                    getString(
                        R.string.never,
                    )
                },
            ) + if (used == null || used.skipped == 0) "" else leftOut(used)
    }

    private fun leftOut(usage: UsageCounts) = getString(R.string.left_out, usage.describe())

    private fun megabytes(bytes: Long) = "%.1f MB".format(bytes / MEGABYTE)

    private companion object {
        const val FOR_MICROPHONE = 0
        const val FOR_NOTIFICATION = 1
        const val MEGABYTE = 1e6
        const val MICROAMP_HOURS = 1000.0
    }
}
