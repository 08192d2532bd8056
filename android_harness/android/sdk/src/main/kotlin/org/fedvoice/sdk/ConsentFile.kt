package org.fedvoice.sdk

import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.notWritable
import org.fedvoice.core.session.roomOnDisk
import org.fedvoice.core.session.writeDurably
import java.io.File
import java.io.IOException

/**
 * Whether the person has agreed to training: a file that is there or not, so that all processes of
 * the app know it at once. It holds the Unix time of the agreement.
 */
internal class ConsentFile(private val file: File) {
    /** False until they agree. */
    val isGiven: Boolean get() = file.isFile

    /** @throws FedvoiceException `no-space`, `not-writable` */
    fun give(nowSecs: Double) =
        explained {
            file.absoluteFile.parentFile?.mkdirs()
            writeDurably(file, nowSecs.toString().toByteArray())
        }

    /** @throws FedvoiceException `not-writable` */
    fun takeBack() =
        explained {
            file.delete()
            if (file.exists()) throw IOException("it cannot be deleted")
        }

    private fun explained(work: () -> Unit) =
        try {
            roomOnDisk(file, work)
        } catch (error: IOException) {
            throw notWritable(file, error)
        }
}
