package org.fedvoice.sdk

import android.annotation.SuppressLint
import android.content.Context
import android.util.Log
import kotlinx.coroutines.CoroutineExceptionHandler
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.Books
import org.fedvoice.core.session.BooksFile
import org.fedvoice.core.session.Explanation
import org.fedvoice.core.session.PacingFile
import org.fedvoice.core.session.SessionLog
import org.fedvoice.core.session.SessionRecord
import org.fedvoice.core.session.explanationOf
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.AudioFacts
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.NewExample
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.StoreLimits
import org.fedvoice.core.store.StoredExample
import org.fedvoice.core.store.addManifest
import org.fedvoice.core.store.wavOf
import org.fedvoice.core.training.Usage
import org.fedvoice.core.training.usageOf
import java.io.File

internal const val TAG = "fedvoice"

/**
 * Federated training of a speech recogniser inside a host app.
 *
 * ```kotlin
 * val voice = FedVoice.start(context, FedVoiceConfig())   // in Application.onCreate
 * voice.enrol(invitation)                                 // once
 * voice.setConsent(true)                                  // when the person agrees
 * voice.addExample(pcm, 16000, "turn on the light", Source.CORRECTION)
 * val text = voice.recognize(pcm)
 * ```
 *
 * Nothing is trained or sent before the person has agreed ([setConsent]), and speech never leaves
 * the phone: what is sent is a model update and counts.
 */
class FedVoice private constructor(private val context: Context) {
    // Made when they are needed, which is never on the thread that calls `start`: they look at the
    // disk.
    private val files by lazy { PhoneFiles(context) }
    private val agreement by lazy { ConsentFile(files.consent) }
    private val books by lazy { BooksFile(files.books) }
    internal val sessions by lazy { Sessions(context, this, files) }
    private val consenting = Mutex()

    /** For what nobody waits for; nothing that fails there ends the host app. */
    internal val background =
        CoroutineScope(
            SupervisorJob() + Dispatchers.IO +
                CoroutineExceptionHandler { _, error -> Log.e(TAG, "in the background", error) },
        )

    /** How the library behaves; the last one given to [start]. */
    @Volatile
    var config: FedVoiceConfig = FedVoiceConfig()
        private set

    private val installed: PhoneAccess by lazy {
        OneProcess(InstalledPhone(context, files), files.lock)
    }

    @Volatile
    private var substitute: PhoneAccess? = null

    /** What runs sessions and recognises; tests put another one here. */
    internal var phone: PhoneAccess
        get() = substitute ?: installed
        set(value) {
            substitute = value
        }

    private val warnings = UsageWarnings { phone.task() }

    /** Whether the person has agreed to training; false until they do. */
    val consent: Boolean get() = agreement.isGiven

    /** Whether the phone has a certificate of a server. */
    val isEnrolled: Boolean get() = phone.isEnrolled

    /** What the phone has learnt, sent and spent, and what its last training left out. */
    val status: Books get() = books.read()

    /** Utterances held for training and for measuring. */
    val exampleCount: Int get() = store().let { it.count(Split.TRAIN) + it.count(Split.TEST) }

    /**
     * Keeps an utterance on the phone, to train on.
     *
     * It is kept as it came and resampled when it is learnt from: the next task may learn from
     * another rate. One that the present task cannot use, such as one with a word that it lacks,
     * is kept all the same. The log warns of it, once for each reason; see [usage].
     *
     * @param pcm 16 bit samples, one channel, at most a minute
     * @param sampleRate of it in Hz, 8,000 to 192,000
     * @param transcript the words spoken, as corrected, prompted or confidently recognised
     * @return the example's id
     * @throws FedvoiceException `empty-transcript`, `unreadable-audio`, `wrong-sample-rate`,
     *   `no-space`
     */
    fun addExample(pcm: ShortArray, sampleRate: Int, transcript: String, source: Source): Long {
        checkRate(sampleRate, "addExample")
        val facts = AudioFacts(sampleRate, pcm.size)
        checkLength(facts)
        return keep(wavOf(pcm, sampleRate), facts, transcript, source)
    }

    /**
     * The same of a sound file of a minute at most: wav, or what Android decodes (flac, mp3, m4a,
     * opus). Its sound is copied; the file may go. Not on the main thread.
     *
     * @throws FedvoiceException as the other, and `missing-audio`
     */
    fun addExample(recording: File, transcript: String, source: Source): Long {
        val (wav, facts) = readRecording(recording)
        return keep(wav, facts, transcript, source)
    }

    private fun keep(wav: ByteArray, facts: AudioFacts, transcript: String, source: Source): Long {
        val store = store()
        val split = nextSplit(store)
        val id = store.add(NewExample(Audio.Held(wav), transcript, source, split))
        val (rate, samples) = facts
        warnings.warnOf(
            StoredExample(id, null, rate, samples, transcript, source, split, wallSecs()),
        )
        return id
    }

    /**
     * What the task that the phone was last given makes of all utterances held now: how many it
     * uses and how many it leaves out, by reason (`unknown-token`, `too-short`, `too-long` ...)
     * with the first one of each, "stored example" and its id. Null before the first task has
     * come.
     *
     * No sound is read, so a silent or damaged recording counts as used. Every transcript is read:
     * do not call it on the main thread.
     *
     * @throws FedvoiceException `bad-package`, `bad-config` for what cannot be read on the phone
     */
    fun usage(): Usage? {
        val task = phone.task() ?: return null
        val store = store()
        return usageOf(Split.entries.flatMap(store::examples), task)
    }

    /**
     * Why the phone does not train now, or that nothing is in its way: consent, enrolment,
     * examples, each gate with its present value, the next contact and whose wish it is, the last
     * session.
     *
     * It reads the store and the phone's sensors: do not call it on the main thread.
     *
     * @throws FedvoiceException as [usage]
     */
    fun explain(): Explanation =
        explanationOf(
            consent,
            isEnrolled,
            store = store(),
            task = phone.task(),
            requirements = config.requirements,
            conditions = PhoneConditions(context, context.filesDir).read(),
            pacing = PacingFile(files.pacing).read(),
            books = status,
        )

    /** Refers to the utterances of a folder's manifest that were not added before; how many. */
    internal fun addExamples(folder: File): Int = addManifest(store(), folder)

    /** What the phone holds, newest first, and the rounds in which it was learnt from. */
    fun examples(): List<KeptExample> = keptExamples(store())

    /**
     * The sound of an example, to play it.
     *
     * @throws FedvoiceException `not-found` if it was deleted meanwhile, `missing-audio`,
     *   `unreadable-audio`
     */
    fun sound(exampleId: Long): Sound = soundOf(store(), exampleId)

    /**
     * What was sent and received, newest first: a thousand sessions at least, as long as there
     * were so many.
     */
    fun sessions(): List<SessionRecord> = SessionLog(files.sessions).read()

    /** Forgets one utterance. */
    fun deleteExample(id: Long) = store().delete(id)

    /**
     * What was said, by the model that the phone was last given.
     *
     * @param pcm 16 bit samples, one channel
     * @param sampleRate of it in Hz, 8,000 to 192,000; null: the task's
     * @throws FedvoiceException `not-found` before the first model has come, `wrong-shape` for too
     *   short or too long a recording, `wrong-sample-rate`
     */
    suspend fun recognize(pcm: ShortArray, sampleRate: Int? = null): String {
        sampleRate?.let { checkRate(it, "recognize") }
        val waveform = waveformOf(pcm)
        return withContext(Dispatchers.Default) {
            phone.recognise(waveform, sampleRate, config.threads)
        }
    }

    /** Whether the model that the phone was last given can [listen]; false before the first. */
    suspend fun canListen(): Boolean =
        withContext(Dispatchers.IO) { phone.task()?.streaming != null }

    /**
     * What is said, while it is said: the text so far at each change, and each utterance when it
     * has ended, by the model that the phone was last given.
     *
     * Each collection hears [sound] anew, and ends with it; cancelled, it ends at once. Nothing is
     * done on the collector's thread. Sound waits in a buffer while the program is loaded (64
     * pieces; `sound.buffer(...)` sets another). Texts do not depend on the pieces.
     *
     * @param sound 16 bit samples, one channel, in pieces of any size, a tenth of a second for one
     * @param sampleRate of it in Hz, 8,000 to 192,000; null: the task's
     * @return a flow that throws FedvoiceException: `not-found` before the first model has come,
     *   `bad-package` for a task that recognises whole recordings only (see [canListen]),
     *   `wrong-sample-rate`; `not-found`, `bad-config`, `wrong-shape` for a language model that
     *   cannot be read or is of other tokens; and what [sound] throws
     */
    fun listen(
        sound: Flow<ShortArray>,
        sampleRate: Int? = null,
        settings: ListenSettings = ListenSettings(),
    ): Flow<HeardText> =
        listening(sound, sampleRate, settings) {
            sampleRate?.let { checkRate(it, "listen") }
            phone.streamingModel(config.threads)
        }

    /**
     * Gets a certificate from the server that [invitation] names; needed once. Given again, the
     * same invitation changes nothing.
     *
     * @throws FedvoiceException `bad-credentials` for a token that is used, expired or unknown,
     *   `server-unreachable`, `not-writable` if the phone's keystore does not answer for now
     */
    suspend fun enrol(invitation: String) =
        withContext(Dispatchers.IO) {
            if (sessions.between { phone.enrol(invitation) }) sessions.soon()
        }

    /**
     * The person agrees or does not any more. Without consent nothing is trained or sent, and what
     * was not sent yet is withdrawn; the examples stay until they are deleted or expired. All
     * processes of the app know it at once.
     *
     * @throws FedvoiceException `no-space`, `not-writable` if the answer cannot be kept; `exists`
     *   if another process of the app does not end its session within a minute
     */
    suspend fun setConsent(given: Boolean) =
        // In the order of the calls: the last one holds.
        consenting.withLock {
            withContext(Dispatchers.IO) {
                if (given) agreement.give(wallSecs()) else agreement.takeBack()
                if (given) sessions.resume() else sessions.withdraw()
            }
        }

    /**
     * Deletes all that the library keeps: every utterance, the update that was not sent yet,
     * models, books, consent, key and certificates, the next session and its notification. The
     * person has to agree again, and the phone to be enrolled again.
     *
     * What the server accepted before is part of its model, averaged with that of others: nobody
     * can take it out of there.
     *
     * @throws FedvoiceException as [setConsent]
     */
    suspend fun deleteEverything() {
        consenting.withLock {
            withContext(Dispatchers.IO) {
                agreement.takeBack()
                sessions.withdraw()
                sessions.between { phone.alone { deleteFiles() } }
            }
        }
        TrainingService.forget(context, config.notificationId)
    }

    private fun deleteFiles() {
        store().deleteAll() // overwritten before the file goes
        phone.forget()
        files.root.deleteRecursively()
        files.deployed?.deleteRecursively()
    }

    /**
     * A session that the person started and watches; the phone's own gates do not apply to it, nor
     * do the day's limits. Where the system does not allow a service in the foreground now, it is
     * an ordinary job, and `no-foreground` stands in [status] until that has run.
     */
    fun trainNow() {
        require(consent) { "the person has not agreed to training" }
        try {
            TrainingService.start(context)
        } catch (error: IllegalStateException) {
            // ForegroundServiceStartNotAllowedException since Android 12.
            trainWithoutForeground(error)
        }
    }

    /** A job does what the system does not allow in the foreground, and the status says so. */
    internal fun trainWithoutForeground(reason: Exception) {
        Log.w(TAG, "no session in the foreground, a job instead: ${reason.message}")
        background.launch {
            sessions.note("no-foreground")
            trainNowInBackground()
        }
    }

    /** The rest of a session that was stopped, when the phone's state allows. */
    internal fun finishInBackground() {
        background.launch { sessions.soon() }
    }

    /** The same without an app in the foreground, for `fedvoice deploy --now`. */
    internal fun trainNowInBackground() = Schedule.put(context, Schedule.now(context, config.jobId))

    /** One session with the server, as [Sessions.run]. */
    internal suspend fun session(overridden: Boolean = false): Double? = sessions.run(overridden)

    /** Puts the next session [delaySecs] from now, if there is to be one. */
    internal fun schedule(delaySecs: Double?) = sessions.schedule(delaySecs)

    internal fun store(): ExampleStore {
        val limits =
            StoreLimits(
                maxExamples = config.maxExamples,
                maxBytes = config.maxExampleBytes,
                timeToLiveSecs = config.exampleTimeToLiveDays * DAY_SECS,
            )
        return SqlExampleStore(AndroidDatabase(context, files.examples), limits, MediaDecoder)
    }

    /** Every n-th example is for measuring: the model must not have trained on it. */
    private fun nextSplit(store: ExampleStore): Split {
        if (config.testShare <= 0) return Split.TRAIN
        val held = store.count(Split.TEST)
        val wanted = (store.count(Split.TRAIN) + held + 1) * config.testShare
        return if (wanted >= held + 1) Split.TEST else Split.TRAIN
    }

    companion object {
        private const val DAY_SECS = 86400.0
        private const val SETTLE_SECS = 30.0

        // The application's context, which lives as long as the process.
        @SuppressLint("StaticFieldLeak")
        private var instance: FedVoice? = null

        /**
         * The library with [config]; if the person has agreed, sees that the next session is
         * scheduled for when it was decided. Returns at once: the disk is looked at elsewhere.
         */
        fun start(context: Context, config: FedVoiceConfig = FedVoiceConfig()): FedVoice {
            val voice = get(context)
            voice.config = config
            voice.background.launch { voice.sessions.resume(SETTLE_SECS) }
            return voice
        }

        /** The library, with the configuration of [start]. */
        @Synchronized
        fun get(context: Context): FedVoice =
            instance ?: FedVoice(context.applicationContext).also { instance = it }

        private fun wallSecs() = System.currentTimeMillis() / 1e3

        /** Tests begin each with a fresh one. */
        @Synchronized
        internal fun forget() {
            instance?.background?.cancel()
            instance = null
        }
    }
}
