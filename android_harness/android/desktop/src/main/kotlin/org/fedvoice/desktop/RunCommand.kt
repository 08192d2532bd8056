package org.fedvoice.desktop

import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.session.AwayWait
import org.fedvoice.core.session.BlobCache
import org.fedvoice.core.session.EngineCache
import org.fedvoice.core.session.FileIdentity
import org.fedvoice.core.session.Invitation
import org.fedvoice.core.session.Phone
import org.fedvoice.core.session.Retries
import org.fedvoice.core.session.SessionSettings
import org.fedvoice.core.session.SystemClock
import org.fedvoice.core.session.checkCanBeCalled
import org.fedvoice.core.session.isAddress
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.addManifest
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.engine.ExecuTorchEngine
import org.fedvoice.transport.FreshChannel
import org.fedvoice.transport.GrpcLink
import org.fedvoice.transport.enrol
import org.fedvoice.transport.insecureChannel
import org.fedvoice.transport.renewIfDue
import org.fedvoice.transport.secureChannel
import java.io.File
import java.io.IOException

/** What `run` was asked to do. */
private class RunOptions(arguments: Arguments) {
    val state = File(arguments.required("state"))
    val invitation = arguments.option("invitation")
    val server = arguments.option("server")?.let(::checkedAddress)
    val data = arguments.option("data")?.let(::File)
    val speaker = arguments.option("speaker").orEmpty()
    val clientId = arguments.option("client-id").orEmpty()
    val once = arguments.flag("once")
    val threads = arguments.number("threads")?.toInt() ?: 1
    val metered = arguments.flag("metered")
    val conditions = arguments.option("conditions")?.let(::File)
    val clock = arguments.option("clock")?.let { TurnedClock(File(it)) } ?: SystemClock
    val settings =
        SessionSettings().let { usual ->
            val backoffSecs = arguments.number("backoff-secs") ?: usual.calls.backoffSecs
            usual.copy(
                calls = usual.calls.copy(backoffSecs = backoffSecs),
                checkpointSecs = arguments.number("checkpoint-secs") ?: usual.checkpointSecs,
                graceSecs = arguments.number("grace-secs") ?: usual.graceSecs,
                recheckSecs = arguments.number("recheck-secs") ?: usual.recheckSecs,
                runtimeVersion = RUNTIME_VERSION,
            )
        }

    init {
        arguments.end()
    }
}

/**
 * One phone, until the server has finished: the flags and the log of `fedvoice device`.
 *
 * `--conditions FILE` is read again at every poll (see [DeskConditions]); `--checkpoint-secs`,
 * `--grace-secs`, `--recheck-secs` and `--backoff-secs` change what [SessionSettings] has;
 * `--clock FILE` turns the wall clock (see [TurnedClock]). A signal stops it after the current step
 * and keeps the checkpoint: the same command resumes.
 */
fun run(arguments: Arguments): Int {
    val options = RunOptions(arguments)
    return lockState(options.state).use { runBlocking { Session(options).run() } }
}

private class Session(private val options: RunOptions) {
    private val state = options.state
    private val stopping = Stopping().listen()
    private val identity = FileIdentity(state, options.clientId)
    private val isSecure = options.server == null || options.invitation != null
    private val retries =
        Retries(
            options.settings.calls,
            Stream(0UL, identity.clientId, 0, Purpose.RETRY),
            Log::info,
            stopping::pause,
        )

    suspend fun run(): Int {
        val database = JdbcDatabase(File(state, STORE_FILE))
        val store =
            SqlExampleStore(
                database,
                decoder = FfmpegDecoder(),
                clock = options.clock::wallSecs,
            )
        options.data?.let { data ->
            Log.info("${addManifest(store, data, options.speaker)} examples added from $data")
        }
        val channel = connect()
        val server = options.server ?: checkNotNull(identity.credentials()).server
        val train = store.count(Split.TRAIN)
        val test = store.count(Split.TEST)
        Log.info(
            "${identity.clientId}: $train examples to train on, $test to test on; server $server",
        )
        if (train + test == 0) {
            Log.warning("this phone has no examples and will get no work: give --data MANIFEST")
        }
        val link = GrpcLink(channel, server) { identity.credentials().takeIf { isSecure } }
        val phone =
            Phone(
                identity.clientId,
                state,
                store = store,
                link = link,
                engines =
                    EngineCache(ProcMemory) {
                        ExecuTorchEngine(it.manifest, it.program, options.threads)
                    },
                blobs = BlobCache(File(state, "blobs")),
                conditions = DeskConditions(state, options.metered, options.conditions),
                memory = ProcMemory,
                settings = options.settings,
                clock = options.clock,
                log = Log::info,
                pause = stopping::pause,
            )
        try {
            return sessions(phone, link, channel)
        } finally {
            channel.end()
        }
    }

    private suspend fun sessions(phone: Phone, link: GrpcLink, channel: FreshChannel): Int {
        val away = AwayWait()
        while (!stopping.requested) {
            try {
                if (options.server == null) renew(channel)
                val outcome = phone.runOnce { stopping.requested }
                away.answered()
                Log.info(describe(outcome))
                if (options.once || outcome.finished) return 0
                link.rest()
                stopping.wait(outcome.nextContactSecs)
            } catch (_: Stopped) {
                break
            } catch (error: FedvoiceException) {
                val mayCome = error.code == ErrorCode.SERVER_UNREACHABLE
                if (options.once || stopping.requested || !mayCome) throw error
                link.rest()
                val waitSecs = away.nextSecs()
                Log.warning("${error.message}; again in ${waitSecs.toLong()} s")
                stopping.wait(waitSecs)
            }
        }
        Log.info("stopped; the same command resumes from here")
        return stopping.status
    }

    private suspend fun renew(channel: FreshChannel) {
        try {
            if (renewIfDue(identity, channel, options.clock.wallSecs(), retries)) {
                Log.info("certificate renewed")
            }
        } catch (error: FedvoiceException) {
            if (error.code == ErrorCode.BAD_CREDENTIALS) throw error
            Log.warning("the certificate could not be renewed yet: ${error.message}")
        }
    }

    private suspend fun connect(): FreshChannel {
        if (options.server != null && !isSecure) return insecureChannel(options.server)
        options.invitation?.let { given ->
            val before = identity.credentials()
            val credentials = enrol(identity, Invitation.parse(invitationText(given)), retries)
            if (before?.certificate != credentials.certificate) {
                Log.info("enrolled as ${identity.clientId}")
            }
        }
        identity.credentials() ?: throw FedvoiceException(
            ErrorCode.BAD_CREDENTIALS,
            where = state.path,
            got = "a phone that is not enrolled, and no --invitation",
            wanted = "an invitation of the server",
            nextStep =
                "Make one with `fedvoice invite` and give it as --invitation; or give --server " +
                    "for a server that runs with --insecure.",
        )
        return secureChannel { checkNotNull(identity.credentials()) { "no longer enrolled" } }
    }
}

/** An invitation given as itself or as the path of a file that holds it. */
private fun invitationText(given: String): String {
    if (given.trim().startsWith("fedvoice1:")) return given
    return try {
        File(given).readText()
    } catch (error: IOException) {
        throw FedvoiceException(
            ErrorCode.NOT_FOUND,
            where = "--invitation",
            got = "'$given', which cannot be read",
            wanted = "a file, or the text itself, which begins with fedvoice1:",
            nextStep = "`fedvoice invite` on the server's machine makes one.",
            cause = error,
        )
    }
}

private fun checkedAddress(server: String): String {
    val nextStep = "Give the server's name, or its address in the network you share."
    checkCanBeCalled(server, "--server", nextStep, ErrorCode.BAD_CONFIG)
    if (isAddress(server)) return server
    throw FedvoiceException(
        ErrorCode.BAD_CONFIG,
        where = "--server",
        got = "'$server'",
        wanted = "HOST:PORT, for instance localhost:8080",
        nextStep = "Give the address that `fedvoice serve` printed.",
    )
}

internal const val STORE_FILE = "examples.sqlite"
internal const val RUNTIME_VERSION = "executorch-android 1.3"
