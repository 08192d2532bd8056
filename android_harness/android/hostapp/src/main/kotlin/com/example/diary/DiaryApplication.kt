package com.example.diary

import android.app.Application
import org.fedvoice.sdk.FedVoice
import org.fedvoice.sdk.FedVoiceConfig
import org.fedvoice.sdk.NotificationText

/** Starts the library in every process of the app, as `Application.onCreate` does. */
class DiaryApplication : Application() {
    override fun onCreate() {
        super.onCreate()
        val config =
            FedVoiceConfig(
                jobId = LEARNING_JOB,
                notificationId = LEARNING_NOTIFICATION,
                notification =
                    NotificationText(
                        channel = getString(R.string.learning),
                        title = getString(R.string.learning),
                        text = getString(R.string.learning_private),
                        icon = R.drawable.diary,
                    ),
            )
        FedVoice.start(this, config)
        SyncJob.schedule(this)
    }

    companion object {
        // The app counts its jobs and notifications from 1; the library's defaults are taken.
        const val SYNC_JOB = 4077
        const val DIARY_NOTIFICATION = 4077
        const val LEARNING_JOB = 2
        const val LEARNING_NOTIFICATION = 2
    }
}
