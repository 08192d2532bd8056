package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.StandardOpenOption

/**
 * Takes a phone's folder for this process, until that ends.
 *
 * @throws FedvoiceException `exists` if another process runs this phone; `not-writable`
 */
internal fun lockState(state: File): FileChannel {
    val channel =
        try {
            state.mkdirs()
            FileChannel.open(
                File(state, "lock").toPath(),
                StandardOpenOption.CREATE,
                StandardOpenOption.WRITE,
            )
        } catch (error: IOException) {
            throw FedvoiceException(
                ErrorCode.NOT_WRITABLE,
                where = state.path,
                got = error.javaClass.simpleName,
                wanted = "a folder that can be made and written",
                nextStep = "Check the path and its permissions, or choose another.",
                cause = error,
            )
        }
    if (channel.tryLock() != null) return channel
    channel.close()
    throw FedvoiceException(
        ErrorCode.EXISTS,
        where = state.path,
        got = "another process that runs this phone",
        wanted = "one process a phone",
        nextStep = "Stop the other one, or give another --state.",
    )
}
