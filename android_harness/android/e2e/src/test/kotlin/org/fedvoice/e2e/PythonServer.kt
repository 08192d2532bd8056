package org.fedvoice.e2e

import java.io.BufferedReader
import java.io.Closeable
import java.io.File
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.concurrent.thread

/** The real server, as a process, with a tiny task; see `src/test/python/serve.py`. */
class PythonServer(folder: File) : Closeable {
    private val root = File(System.getProperty("fedvoice.root"))
    private val process =
        ProcessBuilder(
            System.getProperty("fedvoice.python"),
            File("src/test/python/serve.py").absolutePath,
            folder.absolutePath,
        ).directory(root)
            .redirectError(File(folder, "server.log"))
            .apply { environment() += mapOf("PYTHONPATH" to root.path, "LD_LIBRARY_PATH" to "") }
            .start()
    private val output: BufferedReader = process.inputStream.bufferedReader()

    /** For one phone. */
    val invitation: String

    /** Lines "round NUMBER STATUS CLIENTS EXAMPLES" so far. */
    val rounds: MutableList<String> = CopyOnWriteArrayList()

    init {
        val ready = output.readLine().orEmpty()
        check(ready.startsWith("ready ")) { File(folder, "server.log").readText().takeLast(2000) }
        invitation = ready.removePrefix("ready ")
        thread(isDaemon = true) { output.forEachLine(rounds::add) }
    }

    override fun close() {
        process.outputStream.close()
        if (!process.waitFor(10, java.util.concurrent.TimeUnit.SECONDS)) process.destroyForcibly()
    }
}
