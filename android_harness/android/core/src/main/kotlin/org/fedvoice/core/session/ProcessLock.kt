package org.fedvoice.core.session

import kotlinx.coroutines.delay
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException
import java.nio.file.StandardOpenOption

/**
 * A lock on [file] between processes, and between two users of one process. The system lets go of
 * it when a process dies.
 */
class ProcessLock(private val file: File) {
    /**
     * The result of [work], done while the lock is held; null if another holds it now.
     *
     * @throws FedvoiceException `not-writable`
     */
    suspend fun <T : Any> ifFree(work: suspend () -> T): T? = take()?.use { work() }

    /**
     * The result of [work], done while the lock is held.
     *
     * @throws FedvoiceException `exists` if another holds it for [longestSecs], `not-writable`
     */
    suspend fun <T> waitingFor(longestSecs: Double, work: suspend () -> T): T {
        var leftMillis = (longestSecs * 1000).toLong()
        while (true) {
            take()?.use { return work() }
            if (leftMillis <= 0) throw held()
            delay(POLL_MILLIS)
            leftMillis -= POLL_MILLIS
        }
    }

    private fun take(): Closeable? {
        val channel =
            try {
                file.absoluteFile.parentFile?.mkdirs()
                FileChannel.open(
                    file.toPath(),
                    StandardOpenOption.CREATE,
                    StandardOpenOption.WRITE,
                )
            } catch (error: IOException) {
                throw notWritable(file, error)
            }
        val lock = lock(channel)
        if (lock == null) {
            channel.close()
            return null
        }
        // Whoever deleted everything meanwhile deleted this file too: it locks nothing any more.
        if (!file.exists()) {
            channel.close()
            return take()
        }
        return channel
    }

    private fun lock(channel: FileChannel): FileLock? =
        try {
            channel.tryLock()
        } catch (_: OverlappingFileLockException) {
            // Another user in this very process.
            null
        } catch (error: IOException) {
            channel.close()
            throw notWritable(file, error)
        }

    private fun held() =
        FedvoiceException(
            ErrorCode.EXISTS,
            where = file.path,
            got = "another process of the app that holds a session",
            wanted = "one session at a time",
            nextStep = "Try again when it has ended.",
        )

    private companion object {
        const val POLL_MILLIS = 100L
    }
}
