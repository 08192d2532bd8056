package org.fedvoice.core.session

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class ProcessLockTest {
    @TempDir
    lateinit var folder: File

    private val file get() = File(folder, "new/session.lock")
    private val lock get() = ProcessLock(file)

    @Test
    fun `what another process holds is left alone, until it is killed`() {
        val other = processThatHolds(file)
        try {
            assertNull(runBlocking { lock.ifFree { "done" } })
            val late =
                assertThrows(FedvoiceException::class.java) {
                    runBlocking { lock.waitingFor(0.2) { "done" } }
                }
            assertEquals(ErrorCode.EXISTS, late.code)
        } finally {
            other.destroyForcibly().waitFor()
        }
        assertEquals("done", runBlocking { lock.ifFree { "done" } })
    }

    @Test
    fun `two users of one process wait for each other`() =
        runBlocking {
            val taken = CompletableDeferred<Unit>()
            val end = CompletableDeferred<Unit>()
            val first =
                async(Dispatchers.Default) {
                    lock.ifFree {
                        taken.complete(Unit)
                        end.await()
                    }
                }
            taken.await()
            assertNull(lock.ifFree { "done" })
            val second = async(Dispatchers.Default) { lock.waitingFor(60.0) { first.isCompleted } }
            end.complete(Unit)
            assertEquals(true, second.await())
        }

    @Test
    fun `work that fails lets go`() {
        assertThrows(IllegalStateException::class.java) {
            runBlocking { lock.ifFree<Unit> { error("a bug") } }
        }
        assertEquals("done", runBlocking { lock.ifFree { "done" } })
    }

    @Test
    fun `a folder that cannot be made is said`() {
        File(folder, "new").writeText("a file")
        val failure =
            assertThrows(FedvoiceException::class.java) { runBlocking { lock.ifFree { "done" } } }
        assertEquals(ErrorCode.NOT_WRITABLE, failure.code)
    }

    private fun processThatHolds(file: File): Process {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val main = "org.fedvoice.core.session.HolderKt"
        val classPath = System.getProperty("java.class.path")
        val process =
            ProcessBuilder(java, "-cp", classPath, main, file.path)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start()
        assertEquals("held", process.inputStream.bufferedReader().readLine())
        return process
    }
}
