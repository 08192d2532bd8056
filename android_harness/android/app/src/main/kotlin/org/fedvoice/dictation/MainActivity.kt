package org.fedvoice.dictation

import android.Manifest
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.util.Log
import android.view.View
import android.view.inputmethod.InputMethodManager
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.withContext
import org.fedvoice.core.session.Explanation
import org.fedvoice.core.session.PersonsAction
import org.fedvoice.core.store.Source

/** Dictate, correct, keep; see why the phone does not learn now, and do something about it. */
class MainActivity : Screen() {
    private val microphone by lazy { Microphone(this) }
    private val record by lazy { findViewById<Button>(R.id.record) }
    private val transcript by lazy { findViewById<EditText>(R.id.transcript) }
    private val keep by lazy { findViewById<Button>(R.id.keep) }
    private val invitation by lazy { findViewById<EditText>(R.id.invitation) }

    @Volatile
    private var isRecording = false
    private var heard = ShortArray(0)
    private var dictating: Job? = null

    /** Tests put another one here. */
    internal lateinit var dictation: Dictation

    override fun onCreate(savedState: Bundle?) {
        super.onCreate(savedState)
        setContentView(R.layout.main)
        connect()
        dictation = Dictation.of(voice)
        record.setOnClickListener { if (isRecording) isRecording = false else startRecording() }
        keep.setOnClickListener { keepExample() }
        button(R.id.train_now).setOnClickListener { learnNow() }
        button(R.id.join).setOnClickListener {
            act {
                voice.enrol(invitation.text.toString().trim())
                getString(R.string.joined)
            }
        }
        button(R.id.open_learnt).setOnClickListener {
            startActivity(Intent(this, LearntActivity::class.java))
        }
    }

    override fun onDestroy() {
        isRecording = false
        super.onDestroy()
    }

    override fun onRequestPermissionsResult(
        code: Int,
        permissions: Array<out String>,
        results: IntArray,
    ) {
        if (code != FOR_MICROPHONE) return
        if (microphone.isAllowed) startRecording() else say(getString(R.string.no_microphone))
    }

    override suspend fun show() {
        val (explanation, kept) =
            withContext(Dispatchers.IO) { voice.explain() to voice.exampleCount }
        show(explanation, kept)
    }

    internal fun show(explanation: Explanation, kept: Int) {
        findViewById<TextView>(R.id.answer).text = answerTo(explanation, kept)
        val action = explanation.obstacle?.action
        val act = button(R.id.act)
        act.visibility = if (action == null) View.GONE else View.VISIBLE
        action?.let { wanted ->
            act.setText(wanted.label)
            act.setOnClickListener { lead(wanted) }
        }
        val isOffered = action == PersonsAction.TRAIN_NOW
        button(R.id.train_now).visibility = if (isOffered) View.GONE else View.VISIBLE
    }

    private fun lead(action: PersonsAction) {
        when (action) {
            PersonsAction.GIVE_CONSENT -> agree(true)
            PersonsAction.JOIN -> askForInvitation()
            PersonsAction.RECORD -> if (!isRecording) startRecording()
            PersonsAction.TRAIN_NOW -> learnNow()
        }
    }

    private fun askForInvitation() {
        invitation.requestFocus()
        getSystemService(InputMethodManager::class.java).showSoftInput(invitation, 0)
    }

    private fun startRecording() {
        if (dictating?.isActive == true) return
        if (!microphone.isAllowed) {
            requestPermissions(arrayOf(Manifest.permission.RECORD_AUDIO), FOR_MICROPHONE)
            return
        }
        isRecording = true
        record.setText(R.string.stop)
        keep.isEnabled = false
        dictating =
            act(notFound = R.string.no_model) {
                val pieces = mutableListOf<ShortArray>()
                val sound = microphone.sound { isRecording }.onEach { pieces += it }
                try {
                    dictation.texts(sound).collect(transcript::setText)
                    null
                } catch (error: NoSoundException) {
                    Log.w(TAG, error.message.orEmpty())
                    getString(R.string.microphone_silent)
                } finally {
                    isRecording = false
                    record.setText(R.string.record)
                    heard = joined(pieces)
                    keep.isEnabled = heard.isNotEmpty()
                }
            }
    }

    private fun keepExample() {
        val text = transcript.text.toString()
        act {
            val pcm = heard
            withContext(Dispatchers.IO) {
                voice.addExample(pcm, Microphone.SAMPLE_RATE, text, Source.CORRECTION)
            }
            heard = ShortArray(0)
            keep.isEnabled = false
            transcript.setText("")
            getString(R.string.kept)
        }
    }

    /** The session does not wait for the answer: without the permission it shows nothing. */
    private fun learnNow() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), FOR_NOTIFICATION)
        }
        act {
            try {
                withContext(Dispatchers.IO) { voice.trainNow() }
                getString(R.string.train_started)
            } catch (error: IllegalArgumentException) {
                Log.w(TAG, error.message.orEmpty())
                getString(R.string.answer_consent)
            }
        }
    }

    private fun button(id: Int) = findViewById<Button>(id)

    private companion object {
        const val FOR_MICROPHONE = 0
        const val FOR_NOTIFICATION = 1
    }
}
