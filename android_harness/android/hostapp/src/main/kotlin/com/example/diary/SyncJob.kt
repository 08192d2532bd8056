package com.example.diary

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.app.job.JobService
import android.content.ComponentName
import android.content.Context

/** The app's own job, of the number that the library has by default. */
class SyncJob : JobService() {
    override fun onStartJob(parameters: JobParameters): Boolean {
        val notifications = getSystemService(NotificationManager::class.java)
        val importance = NotificationManager.IMPORTANCE_LOW
        notifications.createNotificationChannel(
            NotificationChannel("training", "Diary", importance),
        )
        val notification =
            Notification
                .Builder(this, "training")
                .setSmallIcon(R.drawable.diary)
                .setContentTitle(getString(R.string.app_name))
                .build()
        notifications.notify(DiaryApplication.DIARY_NOTIFICATION, notification)
        return false
    }

    override fun onStopJob(parameters: JobParameters): Boolean = false

    companion object {
        private const val DAY_MILLIS = 24 * 3600 * 1000L

        fun schedule(context: Context) {
            val job =
                JobInfo
                    .Builder(
                        DiaryApplication.SYNC_JOB,
                        ComponentName(context, SyncJob::class.java),
                    ).setPeriodic(DAY_MILLIS)
                    .build()
            context.getSystemService(JobScheduler::class.java).schedule(job)
        }
    }
}
