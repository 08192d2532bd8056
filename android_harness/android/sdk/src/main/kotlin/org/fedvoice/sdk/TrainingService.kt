package org.fedvoice.sdk

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.Service
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import android.util.Log
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/**
 * A session that a person started and watches: in the foreground, with a notification that says
 * what happens. The phone's own gates do not apply to it, and the server is told so.
 */
class TrainingService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private var session: Job? = null

    override fun onBind(intent: Intent?): IBinder? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val voice = FedVoice.get(this)
        if (!show(voice)) {
            stopSelf(startId)
            return START_NOT_STICKY
        }
        session =
            scope.launch {
                if (voice.consent) voice.schedule(voice.session(overridden = true))
                stopSelf(startId)
            }
        return START_NOT_STICKY
    }

    override fun onTimeout(startId: Int) = timeIsUp()

    /**
     * Android 15's: six hours of a day are over. An app whose service has not stopped within
     * seconds is ended. It overrides the platform's, which is younger than what this is compiled
     * against.
     */
    @Suppress("unused", "UNUSED_PARAMETER")
    fun onTimeout(startId: Int, foregroundServiceType: Int) = timeIsUp()

    /** Stops at once; the session ends after the step it is in, with a checkpoint. */
    private fun timeIsUp() {
        Log.i(TAG, "the system gives the session no more time in the foreground")
        session?.cancel()
        stopForeground(STOP_FOREGROUND_REMOVE)
        FedVoice.get(this).finishInBackground()
        stopSelf()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    /** Whether the system lets the service into the foreground; if not, a job does the work. */
    private fun show(voice: FedVoice): Boolean =
        try {
            val id = voice.config.notificationId
            val notification = notification(this, voice.config.notification)
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                val type = ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC
                startForeground(id, notification, type)
            } else {
                startForeground(id, notification)
            }
            true
        } catch (error: IllegalStateException) {
            // ForegroundServiceStartNotAllowedException since Android 12: the app went to the
            // background meanwhile, or the day's time is spent.
            voice.trainWithoutForeground(error)
            false
        } catch (error: SecurityException) {
            voice.trainWithoutForeground(error)
            false
        }

    internal companion object {
        private const val CHANNEL = "org.fedvoice.training"

        /** @throws IllegalStateException if the system does not allow it now */
        fun start(context: Context) {
            context.startForegroundService(Intent(context, TrainingService::class.java))
        }

        /** Takes notification and channel away. */
        fun forget(context: Context, id: Int) {
            val manager = context.getSystemService(NotificationManager::class.java)
            manager.cancel(id)
            manager.deleteNotificationChannel(CHANNEL)
        }

        private fun notification(context: Context, text: NotificationText): Notification {
            val importance = NotificationManager.IMPORTANCE_LOW
            val channel = NotificationChannel(CHANNEL, text.channel, importance)
            context
                .getSystemService(
                    NotificationManager::class.java,
                ).createNotificationChannel(channel)
            return Notification
                .Builder(context, CHANNEL)
                .setSmallIcon(text.icon)
                .setContentTitle(text.title)
                .setContentText(text.text)
                .setOngoing(true)
                .setProgress(0, 0, true)
                .build()
        }
    }
}
