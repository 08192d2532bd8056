package org.fedvoice.sdk

import kotlinx.coroutines.cancel
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.FilePermission
import java.security.Permission
import java.util.concurrent.CopyOnWriteArrayList

/** `FedVoice.start` is called while the host app starts: it may not wait for the disk. */
class MainThreadTest : SdkTest() {
    @Test
    fun `starting touches no disk on the main thread`() {
        agree()
        FedVoice.forget()

        assertEquals(emptyList<String>(), accessesOf { startAlone() })
        assertEquals(emptyList<String>(), accessesOf { FedVoice.start(app) })
    }

    @Test
    fun `one read put in would be seen`() {
        val reads =
            mapOf(
                "consent" to { voice.consent },
                "a file" to { voice.status },
                "the database" to { voice.exampleCount },
                "a folder" to { files.deployed },
            )
        for ((what, read) in reads) {
            FedVoice.forget()
            val seen =
                accessesOf {
                    startAlone()
                    read()
                }

            assertTrue(what, seen.isNotEmpty())
        }
    }

    @Test
    fun `what is decided at the start is done elsewhere`() {
        agree()
        Schedule.cancel(app, voice.config.jobId)
        FedVoice.forget()
        voice.phone = phone

        FedVoice.start(app)

        waitFor { Schedule.pending(app, voice.config.jobId) != null }
    }

    /** Starts without a thread in the background, which might look at the disk first. */
    private fun startAlone() {
        FedVoice.get(app).background.cancel()
        FedVoice.start(app)
    }

    /** What [work] does to the app's files on this thread; the JVM asks before each access. */
    @Suppress("DEPRECATION", "removal") // Java has nothing else that sees them all.
    private fun accessesOf(work: () -> Unit): List<String> {
        val here = Thread.currentThread()
        // Robolectric keeps an app's files, those on external storage too, in one folder.
        val root = app.dataDir.path.replaceAfter("robolectric-", "")
        val seen = CopyOnWriteArrayList<String>()
        val before = System.getSecurityManager()
        System.setSecurityManager(
            object : SecurityManager() {
                override fun checkPermission(permission: Permission) {
                    if (permission !is FilePermission || Thread.currentThread() != here) return
                    val name = permission.name
                    if (name.startsWith(root)) seen += "${permission.actions} $name"
                }
            },
        )
        try {
            work()
        } finally {
            System.setSecurityManager(before)
        }
        return seen
    }
}
