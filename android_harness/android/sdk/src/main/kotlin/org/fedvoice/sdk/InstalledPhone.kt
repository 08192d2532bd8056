package org.fedvoice.sdk

import android.content.Context
import android.util.Log
import io.grpc.Channel
import kotlinx.coroutines.delay
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.recognition.Recogniser
import org.fedvoice.core.recognition.demandStreaming
import org.fedvoice.core.session.BlobCache
import org.fedvoice.core.session.BooksFile
import org.fedvoice.core.session.CallPolicy
import org.fedvoice.core.session.ConditionSource
import org.fedvoice.core.session.EngineCache
import org.fedvoice.core.session.FileIdentity
import org.fedvoice.core.session.HeldBlobs
import org.fedvoice.core.session.InstalledTask
import org.fedvoice.core.session.Invitation
import org.fedvoice.core.session.ModelFile
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.Phone
import org.fedvoice.core.session.Requirements
import org.fedvoice.core.session.Retries
import org.fedvoice.core.session.SessionSettings
import org.fedvoice.core.session.Traffic
import org.fedvoice.core.session.adoptTask
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.engine.ExecuTorchEngine
import org.fedvoice.transport.GrpcLink
import org.fedvoice.transport.renewIfDue
import org.fedvoice.transport.renewalDue
import org.fedvoice.transport.secureChannel
import org.fedvoice.wire.Assignment
import java.io.Closeable
import java.io.File
import org.fedvoice.transport.enrol as enrolIdentity

/** The phone's runtime as it is: gRPC to the server, ExecuTorch on the phone. */
internal class InstalledPhone(private val context: Context, private val files: PhoneFiles) :
    PhoneAccess,
    Closeable {
    private val identity get() = FileIdentity(files.root, keys = androidKeys(files.identity))
    private val blobs by lazy { BlobCache(files.blobs) }
    private val models by lazy { ModelFile(files.session) }
    private var recogniser: Pair<String, Recogniser>? = null

    /** By the digest of its manifest. */
    @Volatile
    private var lastTask: Pair<String, TaskManifest>? = null

    @Volatile
    override var traffic = Traffic()
        private set

    override val clientId: String get() = identity.clientId

    override val isEnrolled: Boolean
        get() =
            try {
                identity.credentials() != null
            } catch (error: FedvoiceException) {
                // It was, and is again when its keystore answers.
                error.code == ErrorCode.NOT_WRITABLE || throw error
            }

    override suspend fun enrol(invitation: String): Boolean {
        val before = identity.credentials()?.certificate
        val after = enrolIdentity(identity, Invitation.parse(invitation), retries()).certificate
        return after != before
    }

    override fun forget() = identity.forget()

    /** Of this process's own, as far as it alone can tell; see [OneProcess]. */
    override suspend fun <T> alone(work: suspend () -> T): T = work()

    override suspend fun session(
        config: FedVoiceConfig,
        store: ExampleStore,
        overridden: Boolean,
        shouldStop: () -> Boolean,
    ): Outcome {
        val traffic = Traffic().also { traffic = it }
        val server = (identity.credentials() ?: throw notEnrolled()).server
        val channel = secureChannel { identity.credentials() ?: throw notEnrolled() }
        val engines = EngineCache(ProcMemory) { engine(it, config.threads) }
        try {
            renew(channel, traffic)
            val phone =
                Phone(
                    identity.clientId,
                    files.session,
                    store = store,
                    link = GrpcLink(channel, server) { identity.credentials() },
                    engines = engines,
                    blobs = blobs,
                    conditions = conditions(overridden),
                    memory = ProcMemory,
                    settings = settings(config, overridden),
                    clock = DeviceClock,
                    log = { Log.i(TAG, it) },
                    said = BooksFile(files.books).read().usage,
                )
            return phone.runOnce(traffic, shouldStop)
        } finally {
            engines.close()
            channel.end()
        }
    }

    private suspend fun renew(channel: Channel, traffic: Traffic) {
        val credentials = identity.credentials() ?: throw notEnrolled()
        val now = DeviceClock.wallSecs()
        // Tried once if it is due.
        if (renewalDue(credentials.certificate, now)) traffic.called()
        renewIfDue(identity, channel, now, retries())
    }

    @Synchronized
    override fun recognise(waveform: FloatArray, sampleRate: Int?, threads: Int): String {
        val own = recogniser(threads)
        return own.transcribe(waveform, sampleRate ?: own.sampleRate)
    }

    /** Of the model that the phone was last given. */
    private fun recogniser(threads: Int): Recogniser {
        val model = models.get() ?: throw noModel()
        val known = recogniser?.takeIf { it.first == model.weights.digest }
        if (known != null) return known.second
        close()
        val (engine, weights) = loaded(model, threads)
        return Recogniser(engine, weights).also { recogniser = model.weights.digest to it }
    }

    // A program has state of its own: that of recognition may be in use.
    @Synchronized
    override fun streamingModel(threads: Int): StreamingModel {
        val model = models.get() ?: throw noModel()
        blobs.manifest(model.manifest.digest)?.demandStreaming()
        val (engine, weights) = loaded(model, threads)
        return StreamingModel(engine, weights)
    }

    private fun loaded(model: Assignment, threads: Int): Pair<ExecuTorchEngine, FloatArray> {
        val manifest = blobs.read(model.manifest.digest) ?: throw noModel()
        val program = blobs.read(model.program.digest) ?: throw noModel()
        val payload = blobs.read(model.weights.digest) ?: throw noModel()
        val task = blobs.install(model.manifest.digest, manifest, program)
        val size = task.manifest.parameters.totalSize
        val weights = Codec.decode(payload, model.weights.encoding, size, "the phone's model")
        return engine(task, threads) to weights
    }

    // Not synchronised: whoever adds an example does not wait for a recognition to end.
    override fun task(): TaskManifest? {
        val digest = models.get()?.manifest?.digest ?: return null
        lastTask?.takeIf { it.first == digest }?.let { return it.second }
        val task = blobs.manifest(digest) ?: return null
        lastTask = digest to task
        return task
    }

    override fun installTask(folder: File) {
        val assignment = adoptTask(folder, blobs, HeldBlobs(File(files.session, HELD), blobs))
        files.session.mkdirs()
        models.put(assignment)
    }

    /** Lets go of the model that recognition holds. */
    @Synchronized
    override fun close() {
        recogniser?.second?.close()
        recogniser = null
    }

    private fun engine(task: InstalledTask, threads: Int) =
        ExecuTorchEngine(task.manifest, task.program, threads)

    private fun conditions(overridden: Boolean): ConditionSource {
        val real = PhoneConditions(context, files.root)
        return if (overridden) ConditionSource { real.read().copy(overridden = true) } else real
    }

    /** A person who asks for a session now may do without a charger, not without cool. */
    private fun settings(config: FedVoiceConfig, overridden: Boolean): SessionSettings {
        val heat = config.requirements.maxTemperatureCelsius
        val least =
            Requirements(
                charging = false,
                idle = false,
                unmetered = false,
                maxTemperatureCelsius = heat,
            )
        return SessionSettings(
            requirements = if (overridden) least else config.requirements,
            graceSecs = config.graceSecs,
            recheckSecs = RECHECK_SECS,
            runtimeVersion = RUNTIME_VERSION,
        )
    }

    private fun retries() =
        Retries(
            CallPolicy(),
            Stream(0UL, identity.clientId, 0, Purpose.RETRY),
            { Log.i(TAG, it) },
            { delay((it * 1000).toLong()) },
        )

    private fun notEnrolled() =
        FedvoiceException(
            ErrorCode.BAD_CREDENTIALS,
            where = "this phone",
            got = "no certificate of a server",
            wanted = "an enrolled phone",
            nextStep = "Ask whoever runs the server for an invitation and enrol with it.",
        )

    private fun noModel() =
        FedvoiceException(
            ErrorCode.NOT_FOUND,
            where = "recognition",
            got = "no model on this phone yet",
            wanted = "the model that the first session with the server brings",
            nextStep = "Enrol the phone and let it have a session.",
        )

    private companion object {
        /** The job waits for what Android can; this is for heat and the battery's charge. */
        const val RECHECK_SECS = 600.0
        const val RUNTIME_VERSION = "executorch-android 1.3"
        const val HELD = "held_blobs"
    }
}
