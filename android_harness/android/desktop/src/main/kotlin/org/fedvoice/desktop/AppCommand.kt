package org.fedvoice.desktop

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.put
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.session.BlobCache
import org.fedvoice.core.session.Books
import org.fedvoice.core.session.BooksFile
import org.fedvoice.core.session.CallPolicy
import org.fedvoice.core.session.ConditionSource
import org.fedvoice.core.session.EngineCache
import org.fedvoice.core.session.FileIdentity
import org.fedvoice.core.session.HeldBlobs
import org.fedvoice.core.session.Invitation
import org.fedvoice.core.session.ModelFile
import org.fedvoice.core.session.Phone
import org.fedvoice.core.session.Requirements
import org.fedvoice.core.session.Retries
import org.fedvoice.core.session.SessionSettings
import org.fedvoice.core.session.SystemClock
import org.fedvoice.core.session.adoptTask
import org.fedvoice.core.session.explanationOf
import org.fedvoice.core.session.withdrawUnsent
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.addManifest
import org.fedvoice.core.training.ProcMemory
import org.fedvoice.engine.ExecuTorchEngine
import org.fedvoice.transport.GrpcLink
import org.fedvoice.transport.enrol
import org.fedvoice.transport.secureChannel
import java.io.File
import java.io.IOException

/**
 * The app as an emulated device has it: the commands of the SDK's `DeployReceiver`, one JSON object
 * a line on stdin, answered on stdout; the log is on stderr. `--files` is the folder that adb
 * pushes to. It has no screen and no scheduler: a session runs when `train-now` asks for it.
 */
internal fun app(arguments: Arguments): Int {
    val state = File(arguments.required("state"))
    val files = File(arguments.required("files"))
    val conditions = arguments.option("conditions")?.let(::File)
    arguments.end()
    lockState(state).use {
        val app = HeadlessApp(state, files, DeskConditions(state, false, conditions))
        generateSequence(::readLine).forEach { println(app.answer(it)) }
    }
    return 0
}

private class HeadlessApp(
    private val state: File,
    private val files: File,
    private val conditions: ConditionSource,
) {
    private val books = BooksFile(File(state, "books.json"))
    private val consent = File(state, "consent")
    private val store =
        SqlExampleStore(
            JdbcDatabase(File(state, STORE_FILE)),
            decoder = FfmpegDecoder(),
        )
    private val blobs = BlobCache(File(state, "blobs"))
    private val models = ModelFile(state)
    private val oneAtATime = Mutex()
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val identity get() = FileIdentity(state)

    fun answer(line: String): JsonObject =
        try {
            val command = Json.parseToJsonElement(line).jsonObject
            val extra = runBlocking { perform(command) }
            buildJsonObject {
                extra()
                put("client_id", identity.clientId)
                put("enrolled", identity.credentials() != null)
                put("consent", consent.isFile)
                put("examples", store.count(Split.TRAIN) + store.count(Split.TEST))
                put("books", Json.parseToJsonElement(books.read().toJson()))
            }
        } catch (error: FedvoiceException) {
            refusal(error.code.id, error.message)
        } catch (error: SerializationException) {
            refusal("bad-config", error.message)
        } catch (error: IllegalArgumentException) {
            refusal("bad-config", error.message)
        }

    /** Does what is asked; what to add to the answer. */
    private suspend fun perform(command: JsonObject): JsonObjectBuilder.() -> Unit {
        fun text(name: String) =
            requireNotNull(command[name]) { "no $name given" }.jsonPrimitive.content

        fun folder() = File(files, File(text("folder")).name)
        when (val name = text("command")) {
            "enrol" -> {
                enrol(identity, Invitation.parse(text("invitation")), retries())
            }
            "consent" -> {
                consent.writeText("given\n")
            }
            "install-task" -> {
                installTask(folder())
            }
            "add-examples" -> {
                return { put("added", addManifest(store, folder())) }
            }
            "train-now" -> {
                require(consent.isFile) { "the person has not agreed to training" }
                scope.launch { session() }
            }
            "delete-everything" -> {
                deleteEverything()
            }
            "status" -> {
                val told = Json.parseToJsonElement(explanation().toJson())
                return { put("explanation", told) }
            }
            else -> {
                throw IllegalArgumentException("unknown command $name")
            }
        }
        return {}
    }

    private fun installTask(folder: File) {
        val held = HeldBlobs(File(state, "held_blobs"), blobs)
        models.put(adoptTask(folder, blobs, held))
    }

    private fun explanation() =
        explanationOf(
            consent.isFile,
            identity.credentials() != null,
            store = store,
            task = models.get()?.let { blobs.manifest(it.manifest.digest) },
            requirements = REQUIREMENTS,
            conditions = conditions.read(),
            pacing = null, // it works only when it is told to
            books = books.read(),
        )

    private suspend fun deleteEverything() {
        consent.delete()
        oneAtATime.withLock {
            withdrawUnsent(state)
            store.deleteAll()
            books.update { Books() }
            identity.forget()
            File(state, "client_id").delete()
            files.deleteRecursively()
        }
    }

    /** One session, because a person asked for it: the phone's own gates do not apply. */
    private suspend fun session() =
        oneAtATime.withLock {
            val engines = EngineCache(ProcMemory) { ExecuTorchEngine(it.manifest, it.program) }
            try {
                val own = identity
                val credentials = checkNotNull(own.credentials()) { "not enrolled" }
                val channel = secureChannel { own.credentials() ?: credentials }
                try {
                    val link = GrpcLink(channel, credentials.server) { own.credentials() }
                    val phone = phone(own.clientId, link, engines)
                    val outcome = phone.runOnce { !consent.isFile }
                    Log.info(describe(outcome))
                    books.update { it.plus(outcome, 0, SystemClock.wallSecs()) }
                } finally {
                    channel.end()
                }
            } catch (error: FedvoiceException) {
                Log.warning(error.message.orEmpty())
                books.update { it.plusFailure(error.code.id, SystemClock.wallSecs()) }
            } catch (error: IOException) {
                Log.warning(error.message.orEmpty())
                books.update { it.plusFailure("io", SystemClock.wallSecs()) }
            } catch (error: RuntimeException) {
                Log.warning("the session failed: $error")
                books.update { it.plusFailure("internal", SystemClock.wallSecs()) }
            } finally {
                engines.close()
            }
        }

    private fun phone(clientId: String, link: GrpcLink, engines: EngineCache) =
        Phone(
            clientId,
            state,
            store = store,
            link = link,
            engines = engines,
            blobs = blobs,
            conditions = { conditions.read().copy(overridden = true) },
            memory = ProcMemory,
            settings =
                SessionSettings(
                    requirements = REQUIREMENTS,
                    runtimeVersion = RUNTIME_VERSION,
                ),
            log = Log::info,
            said = books.read().usage,
        )

    private fun retries(): Retries {
        val jitter = Stream(0UL, identity.clientId, 0, Purpose.RETRY)
        return Retries(CallPolicy(maxAttempts = 2), jitter, Log::info, { Stopping().wait(it) })
    }

    private fun refusal(code: String, message: String?) =
        buildJsonObject {
            put("error", code)
            put("message", message)
        }

    private companion object {
        val REQUIREMENTS = Requirements(charging = false, idle = false, unmetered = false)
    }
}
