package org.fedvoice.sdk

import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.Traffic
import org.fedvoice.core.store.ExampleStore
import java.io.File

/** The phone's runtime, as the library uses it. */
internal interface PhoneAccess {
    /** The phone's random name towards the server. */
    val clientId: String

    val isEnrolled: Boolean

    /** Bytes and calls of the present session or the last one, failed or not: each has its own. */
    val traffic: Traffic

    /**
     * Whether the phone has a new certificate; an invitation that was used before brings none.
     *
     * @throws org.fedvoice.core.FedvoiceException `bad-credentials`, `server-unreachable`
     */
    suspend fun enrol(invitation: String): Boolean

    /** Forgets key and certificates; the phone is not enrolled any more. */
    fun forget()

    /**
     * The result of [work], done while no process of the app has a session.
     *
     * @throws org.fedvoice.core.FedvoiceException `exists` if another one's does not end
     */
    suspend fun <T> alone(work: suspend () -> T): T

    /**
     * One session at most with the server.
     *
     * @param overridden a person asked for it: the phone's own gates do not apply
     * @throws org.fedvoice.core.FedvoiceException as `Phone.runOnce`
     */
    suspend fun session(
        config: FedVoiceConfig,
        store: ExampleStore,
        overridden: Boolean,
        shouldStop: () -> Boolean,
    ): Outcome

    /**
     * The words of a waveform [samples] in +-1.
     *
     * @param sampleRate of it in Hz; null: the task's
     * @throws org.fedvoice.core.FedvoiceException `not-found` before the first model has come
     */
    fun recognise(waveform: FloatArray, sampleRate: Int?, threads: Int): String

    /**
     * What to hear one stream of sound with; whoever asked closes its engine.
     *
     * @throws org.fedvoice.core.FedvoiceException `not-found` before the first model has come,
     *   `bad-package` for a task that recognises whole recordings only
     */
    fun streamingModel(threads: Int): StreamingModel

    /**
     * The task that the phone was last given; null before the first has come, and while its blob
     * is not on the phone.
     *
     * @throws org.fedvoice.core.FedvoiceException `bad-package`
     */
    fun task(): TaskManifest?

    /**
     * Takes a task from a folder: it is recognised with until a session brings a newer model.
     *
     * @throws org.fedvoice.core.FedvoiceException as `adoptTask`
     */
    fun installTask(folder: File)
}
