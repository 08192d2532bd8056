package org.fedvoice.desktop

import kotlinx.coroutines.runBlocking
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.BlobCache
import org.fedvoice.core.session.Conditions
import org.fedvoice.core.session.EngineCache
import org.fedvoice.core.session.Phone
import org.fedvoice.core.session.ScriptedConditions
import org.fedvoice.core.session.ServerLink
import org.fedvoice.core.session.SessionSettings
import org.fedvoice.core.session.writeAtomically
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.engine.ExecuTorchEngine
import org.fedvoice.transport.GrpcLink
import org.fedvoice.transport.insecureChannel
import java.io.File
import java.io.IOException
import java.util.PriorityQueue
import kotlin.concurrent.thread

/** What one process of a fleet does; `simulation/fleet/android.py` writes it. */
@Serializable
private class FleetJob(
    val server: String,
    val threads: Int,
    @SerialName("blob_dir") val blobDir: String,
    /** Where the error goes that ended the process. */
    @SerialName("error_path") val errorPath: String,
    val phones: List<FleetPhone>,
)

@Serializable
private class FleetPhone(
    @SerialName("client_id") val clientId: String,
    @SerialName("state_dir") val stateDir: String,
    val script: List<FleetStep>,
)

@Serializable
private class FleetStep(
    @SerialName("from_secs") val fromSecs: Double,
    val conditions: JsonObject,
)

/**
 * Many phones in one JVM that take turns, each when its own next contact is due, until the server
 * has said to each that it is finished. The counterpart of `simulation/fleet/worker.py`: a phone
 * that fails several times in a row is lost, and the others continue.
 *
 * Ctrl-C is handled by the parent: it stops its children with SIGTERM, and a child whose parent has
 * gone stops by itself.
 */
fun fleet(arguments: Arguments): Int {
    val file = File(arguments.word("the job's file"))
    arguments.end()
    val job = read(file)
    val stopping = Stopping().ignoring("INT").listen(listOf("TERM"))
    stopWithParent(stopping)
    val locks = job.phones.map { lockState(File(it.stateDir)) }
    val channel = insecureChannel(job.server)
    try {
        val link = GrpcLink(channel, job.server)
        runBlocking { Turns(phonesOf(job, link, stopping), stopping).run() }
        return 0
    } catch (error: FedvoiceException) {
        tell(error, File(job.errorPath))
        throw error
    } finally {
        channel.end()
        locks.forEach { it.close() }
    }
}

private fun read(file: File): FleetJob =
    try {
        Json.decodeFromString(FleetJob.serializer(), file.readText())
    } catch (error: IOException) {
        throw badJob(file, error)
    } catch (error: SerializationException) {
        throw badJob(file, error)
    }

private fun badJob(file: File, error: Exception) =
    FedvoiceException(
        ErrorCode.BAD_CONFIG,
        where = file.path,
        got = error.message.orEmpty(),
        wanted = "a job that `fedvoice simulate` wrote",
        nextStep = "Build the phone of this version: make android.",
        cause = error,
    )

private fun phonesOf(job: FleetJob, link: ServerLink, stopping: Stopping): List<Phone> {
    val engines =
        EngineCache(ProcMemory) { ExecuTorchEngine(it.manifest, it.program, job.threads) }
    val blobs = BlobCache(File(job.blobDir))
    val settings =
        SessionSettings(
            checkpointSecs = CHECKPOINT_SECS,
            recheckSecs = RECHECK_SECS,
            runtimeVersion = RUNTIME_VERSION,
        )
    return job.phones.map { own ->
        val state = File(own.stateDir)
        val script = own.script.map { it.fromSecs to conditionsOf(it.conditions) }
        Phone(
            own.clientId,
            state,
            store =
                SqlExampleStore(
                    JdbcDatabase(File(state, STORE_FILE)),
                    decoder = FfmpegDecoder(),
                ),
            link = link,
            engines = engines,
            blobs = blobs,
            conditions = ScriptedConditions(script.ifEmpty { listOf(0.0 to Conditions()) }),
            memory = ProcMemory,
            settings = settings,
            log = Log::info,
            pause = stopping::pause,
        )
    }
}

private class Turns(private val phones: List<Phone>, private val stopping: Stopping) {
    private class Turn(val atSecs: Double, val phone: Phone, val failures: Int)

    private val due = PriorityQueue<Turn>(compareBy { it.atSecs })
    private var finished = 0
    private var lost: FedvoiceException? = null

    suspend fun run() {
        phones.forEach { due += Turn(0.0, it, 0) }
        while (due.isNotEmpty() && !stopping.requested) {
            val turn = due.remove()
            stopping.wait(maxOf(0.0, turn.atSecs - now()))
            if (stopping.requested) return
            try {
                take(turn)
            } catch (_: Stopped) {
                return
            }
        }
        val last = lost ?: return
        if (finished > 0 || stopping.requested) return
        throw FedvoiceException(
            last.code,
            where = "all ${phones.size} phones of a process; ${last.where}",
            got = last.got,
            wanted = last.wanted,
            nextStep = "${last.nextStep} Run the same command again to resume.",
            cause = last,
        )
    }

    private suspend fun take(turn: Turn) {
        val phone = turn.phone
        try {
            val outcome = phone.runOnce { stopping.requested }
            outcome.round?.let { Log.info("${phone.clientId} round $it ${outcome.happened.id}") }
            if (outcome.finished) {
                finished += 1
            } else {
                due += Turn(now() + outcome.nextContactSecs, phone, 0)
            }
        } catch (error: FedvoiceException) {
            val failures = turn.failures + 1
            Log.warning("${phone.clientId}, failure $failures: ${error.message}")
            if (failures < FAILURES_BEFORE_LOST) {
                due += Turn(now() + RETRY_SECS, phone, failures)
            } else {
                lost = error
                Log.error("${phone.clientId} is lost")
            }
        }
    }

    private fun now() = System.nanoTime() / NANOS
}

private fun stopWithParent(stopping: Stopping) {
    val parent = ProcessHandle.current().parent().orElse(null) ?: return
    thread(isDaemon = true, name = "parent") {
        while (parent.isAlive) Thread.sleep(PARENT_POLL_MILLIS)
        stopping.request()
    }
}

private fun tell(error: FedvoiceException, file: File) {
    val facts =
        buildJsonObject {
            put("code", error.code.id)
            put("where", error.where)
            put("got", error.got)
            put("wanted", error.wanted)
            put("next_step", error.nextStep)
        }
    try {
        writeAtomically(file, facts.toString().toByteArray())
    } catch (_: IOException) {
        Log.error("the error could not be written to $file") // it is in the log all the same
    }
}

private const val CHECKPOINT_SECS = 5.0
private const val RECHECK_SECS = 1.0
private const val RETRY_SECS = 2.0
private const val FAILURES_BEFORE_LOST = 5
private const val PARENT_POLL_MILLIS = 1000L
private const val NANOS = 1e9
