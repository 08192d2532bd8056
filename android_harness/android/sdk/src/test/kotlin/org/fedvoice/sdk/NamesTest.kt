package org.fedvoice.sdk

import android.app.NotificationManager
import android.app.job.JobScheduler
import android.content.Intent
import android.content.pm.PackageManager
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.store.Source
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import java.io.File

/** What the library leaves in an app cannot be taken for the app's own. */
class NamesTest : SdkTest() {
    private val notifications get() = app.getSystemService(NotificationManager::class.java)
    private val jobs get() = app.getSystemService(JobScheduler::class.java).allPendingJobs

    @Test
    fun `every file and channel bears the library's name`() {
        val before = written()
        useEverything()

        val added = written() - before
        assertTrue(
            "$added",
            setOf("examples.sqlite", "consent").all { name ->
                added.any { it.endsWith(name) }
            },
        )
        assertEquals(emptyList<String>(), added.filterNot(::isOurs))
        val channels = notifications.notificationChannels.map { it.id }
        assertEquals(emptyList<String>(), channels.filterNot { it.startsWith("org.fedvoice.") })
        assertTrue(channels.isNotEmpty())
    }

    @Test
    fun `numbers of jobs and notifications are the app's to choose`() {
        FedVoice.start(app, FedVoiceConfig(jobId = 99, notificationId = 98))
        useEverything()

        assertEquals(setOf(99), jobs.map { it.id }.toSet())
        val shown = shadowOf(notifications).activeNotifications.map { it.id }
        assertEquals(setOf(98), shown.toSet())
    }

    @Test
    fun `the manifest adds parts of the library's packages alone`() {
        val flags =
            PackageManager.GET_ACTIVITIES or PackageManager.GET_SERVICES or
                PackageManager.GET_RECEIVERS or PackageManager.GET_PROVIDERS
        val info = app.packageManager.getPackageInfo(app.packageName, flags)
        val parts =
            listOfNotNull(info.activities, info.services, info.receivers, info.providers)
                .flatMap { it.toList() }
                .filterNot { it.name.startsWith("androidx.test.") }
        assertEquals(emptyList<Any>(), parts.filterNot { it.name.startsWith("org.fedvoice.") })
        assertTrue(parts.isNotEmpty())
    }

    /** All that puts something onto the phone. */
    private fun useEverything() =
        runBlocking {
            agree()
            voice.enrol("fedvoice1:abc")
            voice.addExample(ShortArray(800), 16000, "hello", Source.OWN)
            voice.session()
            files.deployed?.mkdirs()
            val status = Intent().putExtra("command", "status")
            DeployReceiver.answer(voice, files, status)
            val service = Robolectric.buildService(TrainingService::class.java).create()
            service.startCommand(0, 1)
            waitFor { shadowOf(service.get()).isStoppedBySelf }
        }

    private fun isOurs(path: String) =
        path.split('/').any { it.startsWith("fedvoice") || it.startsWith("org.fedvoice") }

    /** Files of the app's private storage and of its part of the shared one. */
    private fun written(): Set<String> =
        listOfNotNull(app.dataDir, app.getExternalFilesDir(null))
            .flatMap { root -> root.walk().filter(File::isFile).map { it.relativeTo(root).path } }
            .toSet()
}
