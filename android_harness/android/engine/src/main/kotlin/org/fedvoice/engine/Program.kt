package org.fedvoice.engine

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TaskManifest
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecuTorchRuntime
import org.pytorch.executorch.Module
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest

internal const val FEATURES_METHOD = "features"

/** A package's program, loaded after its bytes were checked: damaged ones end the process. */
internal class Program(private val file: File, manifest: TaskManifest, threads: Int) : Closeable {
    private val module: Module

    init {
        checkDigest(file, manifest.programDigest)
        NativeLibraries.load()
        module =
            explained("loading the program") {
                Module.load(file.path, Module.LOAD_MODE_MMAP, threads)
            }
        try {
            checkContents(manifest)
        } catch (error: FedvoiceException) {
            module.destroy()
            throw error
        }
    }

    /**
     * The method's outputs, which lie in its arena: the next call overwrites them.
     *
     * @throws FedvoiceException `bad-package` if the runtime refuses the call
     */
    fun run(method: String, inputs: Array<EValue>): Array<EValue> =
        explained("method $method") { module.execute(method, *inputs) }

    override fun close() = module.destroy()

    private fun checkContents(manifest: TaskManifest) {
        val methods = manifest.buckets.flatMap { listOf(it.stepMethod, it.decodeMethod) }
        val streaming = manifest.streaming?.methods.orEmpty()
        val features = if (manifest.features.isWaveform) emptyList() else listOf(FEATURES_METHOD)
        checkHas("method", methods + streaming + features, module.methods)
        checkHas("operator", manifest.operators, ExecuTorchRuntime.getRegisteredOps())
        checkHas("delegate", manifest.delegates, ExecuTorchRuntime.getRegisteredBackends())
    }

    private fun checkHas(kind: String, wanted: List<String>, present: Array<String>) {
        val missing = (wanted - present.toSet()).sorted()
        if (missing.isNotEmpty()) {
            throw FedvoiceException(
                ErrorCode.MISSING_OPERATOR,
                where = file.path,
                got = "no $kind ${missing.joinToString()}",
                wanted = "every $kind that the manifest names",
                nextStep = "Export the task for this runtime, or update the runtime.",
            )
        }
    }

    private fun <T> explained(what: String, call: () -> T): T =
        try {
            call()
        } catch (error: RuntimeException) {
            // The runtime's own, for every failure in native code.
            throw FedvoiceException(
                ErrorCode.BAD_PACKAGE,
                where = "${file.path}, $what",
                got = error.message?.lineSequence()?.first() ?: error.javaClass.simpleName,
                wanted = "a program that this runtime executes",
                nextStep = "Export the task again with the runtime's version of executorch.",
                cause = error,
            )
        }
}

private fun checkDigest(file: File, wanted: String) {
    val got =
        try {
            file.inputStream().use(::digestOf)
        } catch (error: IOException) {
            throw FedvoiceException(
                ErrorCode.NOT_FOUND,
                where = file.path,
                got = error.message ?: "no such file",
                wanted = "the package's program.pte",
                nextStep = "Fetch or export the package again.",
                cause = error,
            )
        }
    if (got != wanted) {
        throw FedvoiceException(
            ErrorCode.WRONG_DIGEST,
            where = file.path,
            got = "sha256 ${got.take(DIGITS)}..., ${file.length()} bytes",
            wanted = "sha256 ${wanted.take(DIGITS)}...",
            nextStep = "The file is damaged or not of this package: fetch or export it again.",
        )
    }
}

/** sha256, hex, without holding all of it. */
private fun digestOf(input: InputStream): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val block = ByteArray(Codec.CHUNK_BYTES)
    while (true) {
        val count = input.read(block)
        if (count < 0) return Codec.hex(digest.digest())
        digest.update(block, 0, count)
    }
}

private const val DIGITS = 16
