package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.wire.Blob
import java.io.File
import java.io.IOException

/** A task's checked program on disk, and its manifest. */
class InstalledTask(val program: File, val manifest: TaskManifest)

/**
 * Files named by their sha256 in one folder, the least recently used ones dropped.
 *
 * The cache may be shared by the phones of one machine, as a place to keep bytes once. What a phone
 * *holds* is its own list ([HeldBlobs]): an emulated phone downloads for itself what it does not
 * hold, so that the bytes counted are those that phones would need.
 *
 * @param maxBytes kept at most, after each new blob, that one apart
 */
class BlobCache(private val directory: File, private val maxBytes: Long = 512L shl 20) {
    init {
        directory.mkdirs()
    }

    /** Whether there is a file; its content is checked when it is read. */
    fun has(digest: String): Boolean = file(digest).isFile

    /** The blob, its digest checked; null if it is not there. A damaged one is deleted. */
    fun read(digest: String): ByteArray? {
        val data =
            try {
                file(digest).readBytes()
            } catch (_: IOException) {
                return null
            }
        if (Codec.digestOf(data) != digest) {
            file(digest).delete()
            return null
        }
        file(digest).setLastModified(System.currentTimeMillis()) // used now: last to be dropped
        return data
    }

    /**
     * The manifest in a blob; null if it is not there.
     *
     * @throws FedvoiceException `bad-package`
     */
    fun manifest(digest: String): TaskManifest? =
        read(digest)?.let { TaskManifest.parse(it, "the phone's task") }

    /** Where one client collects a blob while it is incomplete. */
    fun partialFile(digest: String, clientId: String): File {
        val owner = Codec.digestOf(clientId.toByteArray()).take(OWNER_LENGTH)
        return File(directory, "$digest.$owner.part")
    }

    /**
     * Turns a complete partial file into a cached blob and returns its bytes.
     *
     * @throws FedvoiceException `wrong-digest`; the partial file is deleted then
     */
    fun adopt(partial: File, blob: Blob): ByteArray {
        val data = partial.readBytes()
        try {
            checkDigest(data, blob.digest, "blob ${blob.digest.take(SHORT)} from the server")
        } catch (error: FedvoiceException) {
            partial.delete()
            throw error
        }
        if (!partial.renameTo(file(blob.digest))) throw IOException("cannot rename $partial")
        dropOldest(keep = blob.digest)
        return data
    }

    /**
     * A task made of two checked blobs.
     *
     * @throws FedvoiceException `bad-package`; `wrong-digest` if the program is not the manifest's
     */
    fun install(digest: String, manifestBytes: ByteArray, program: ByteArray): InstalledTask {
        val manifest = TaskManifest.parse(manifestBytes, "manifest ${digest.take(SHORT)}")
        checkDigest(program, manifest.programDigest, "program of task ${manifest.name}")
        val folder = File(File(directory, PACKAGES), digest)
        val file = File(folder, PROGRAM)
        // Flipped bytes inside a program crash the runtime: what lies there is checked every time.
        if (!file.isFile || Codec.digestOf(file.readBytes()) != manifest.programDigest) {
            folder.mkdirs()
            writeAtomically(file, program)
        }
        return InstalledTask(file, manifest)
    }

    private fun file(digest: String) = File(directory, digest)

    private fun dropOldest(keep: String) {
        val blobs =
            directory
                .listFiles { file -> file.name.length == DIGEST_LENGTH && file.name != keep }
                .orEmpty()
                .sortedBy { it.lastModified() }
        var held = blobs.sumOf { it.length() }
        for (blob in blobs) {
            if (held <= maxBytes) break
            held -= blob.length()
            blob.delete()
            File(File(directory, PACKAGES), blob.name).deleteRecursively()
        }
    }

    private companion object {
        const val PACKAGES = "packages"
        const val PROGRAM = "program.pte"
        const val DIGEST_LENGTH = 64
        const val OWNER_LENGTH = 16
        const val SHORT = 16
    }
}

/**
 * Refuses [data] unless its sha256 is [wanted] (hex).
 *
 * @throws FedvoiceException `wrong-digest`
 */
fun checkDigest(data: ByteArray, wanted: String, where: String) {
    val got = Codec.digestOf(data)
    if (got == wanted) return
    throw FedvoiceException(
        ErrorCode.WRONG_DIGEST,
        where = where,
        got = "sha256 $got",
        wanted = "sha256 $wanted",
        nextStep = "Fetch or export it again: the bytes are damaged or of another task.",
    )
}

/**
 * The digests that one phone has downloaded, last used last; one a line in a file.
 *
 * Only the last few are remembered: they go into every CheckIn, and weights of past rounds are
 * never asked for again.
 */
class HeldBlobs(private val file: File, private val cache: BlobCache) {
    /** Those still in the cache. */
    fun digests(): List<String> =
        try {
            file.readLines(Charsets.US_ASCII).filter(cache::has)
        } catch (_: IOException) {
            emptyList()
        }

    /** Notes that a digest was downloaded or used now. */
    fun use(digest: String) {
        val before = digests()
        val after = (before - digest + digest).takeLast(REMEMBERED)
        if (after != before) {
            writeAtomically(file, after.joinToString("\n", postfix = "\n").toByteArray())
        }
    }

    private companion object {
        const val REMEMBERED = 6
    }
}
