package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.wire.Assignment
import org.fedvoice.wire.Blob
import java.io.File
import java.io.IOException

/**
 * Takes a task that was copied onto the phone into its cache, as if the server had sent it: the
 * phone recognises with it, and its first session downloads neither program nor these weights.
 *
 * @param folder with task.json, program.pte and weights.float32 (the flat vector, little-endian)
 * @return what to note in [ModelFile]; its round is 0
 * @throws FedvoiceException `not-found`; `bad-package`, `wrong-digest`, `wrong-shape` for files
 *   that do not belong together
 */
fun adoptTask(folder: File, blobs: BlobCache, held: HeldBlobs): Assignment {
    val manifest = read(File(folder, "task.json"))
    val program = read(File(folder, "program.pte"))
    val weights = read(File(folder, "weights.float32"))
    val facts = TaskManifest.parse(manifest, File(folder, "task.json").path)
    checkDigest(program, facts.programDigest, File(folder, "program.pte").path)
    val size = facts.parameters.totalSize
    Codec.decode(weights, WEIGHTS_ENCODING, size, File(folder, "weights.float32").path)
    return Assignment
        .newBuilder()
        .setManifest(kept(manifest, "", blobs, held))
        .setProgram(kept(program, "", blobs, held))
        .setWeights(kept(weights, WEIGHTS_ENCODING, blobs, held))
        .build()
}

private fun kept(data: ByteArray, encoding: String, blobs: BlobCache, held: HeldBlobs): Blob {
    val blob =
        Blob
            .newBuilder()
            .setDigest(Codec.digestOf(data))
            .setSizeBytes(data.size.toLong())
            .setEncoding(encoding)
            .build()
    val partial = blobs.partialFile(blob.digest, "adopted")
    writeAtomically(partial, data)
    blobs.adopt(partial, blob)
    held.use(blob.digest)
    return blob
}

private fun read(file: File): ByteArray =
    try {
        file.readBytes()
    } catch (error: IOException) {
        throw FedvoiceException(
            ErrorCode.NOT_FOUND,
            where = file.path,
            got = error.message.orEmpty(),
            wanted = "a file of a task",
            nextStep = "Copy the task again: `fedvoice deploy --task`.",
            cause = error,
        )
    }

private const val WEIGHTS_ENCODING = "float32"
