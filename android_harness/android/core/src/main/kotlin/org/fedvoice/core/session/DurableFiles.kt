package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption

/** Replaces [file]: a killed process leaves the old file or the new one, whole. */
fun writeAtomically(file: File, vararg parts: ByteArray) {
    replace(file, parts, sync = false)
}

/** Replaces [file]; when this returns, it survives a power cut too. */
fun writeDurably(file: File, vararg parts: ByteArray) {
    replace(file, parts, sync = true)
    FileChannel.open(file.absoluteFile.parentFile.toPath(), StandardOpenOption.READ).use {
        it.force(true)
    }
}

private fun replace(file: File, parts: Array<out ByteArray>, sync: Boolean) {
    val draft = File(file.path + ".new")
    FileOutputStream(draft).use { stream ->
        parts.forEach(stream::write)
        if (sync) stream.fd.sync()
    }
    Files.move(draft.toPath(), file.toPath(), StandardCopyOption.ATOMIC_MOVE)
}

/**
 * Runs [work] and turns a full disk into `no-space`; other errors pass.
 *
 * Java has no error number: the operating system's text is all that tells a full disk.
 */
inline fun <T> roomOnDisk(where: File, work: () -> T): T =
    try {
        work()
    } catch (error: IOException) {
        throw noSpace(where, error) ?: error
    }

/** The app's own storage does not take [where]: `not-writable`. */
fun notWritable(where: File, error: IOException): FedvoiceException =
    FedvoiceException(
        ErrorCode.NOT_WRITABLE,
        where = where.path,
        got = error.javaClass.simpleName,
        wanted = "a file in the app's private storage",
        nextStep = "Free some space; the app's own storage must be writable.",
        cause = error,
    )

@PublishedApi
internal fun noSpace(where: File, error: IOException): FedvoiceException? {
    val text = error.message.orEmpty()
    if (NO_ROOM.none { it in text }) return null
    return FedvoiceException(
        ErrorCode.NO_SPACE,
        where = where.path,
        got = text,
        wanted = "room for the task's files, the checkpoint and the update",
        nextStep = "Free some space or raise the quota; what was finished is kept.",
        cause = error,
    )
}

private val NO_ROOM =
    listOf("No space left", "quota exceeded", "File too large", "ENOSPC", "EDQUOT", "EFBIG")
