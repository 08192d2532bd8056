package org.fedvoice.sdk

import android.content.Context
import android.database.Cursor
import android.database.sqlite.SQLiteDatabase
import android.database.sqlite.SQLiteException
import android.database.sqlite.SQLiteFullException
import org.fedvoice.core.store.Database
import org.fedvoice.core.store.DatabaseFailure
import org.fedvoice.core.store.Statements
import java.io.File

/** The example store's database in Android's SQLite, opened for each transaction. */
internal class AndroidDatabase(private val context: Context, private val file: File) : Database {
    override val where: String get() = file.path

    override fun <T> transaction(work: (Statements) -> T): T =
        opened { database ->
            database.beginTransaction()
            try {
                work(InTransaction(database)).also { database.setTransactionSuccessful() }
            } finally {
                database.endTransaction()
            }
        }

    override fun execute(sql: String) = opened { it.execSQL(sql) }

    @Synchronized
    private fun <T> opened(work: (SQLiteDatabase) -> T): T =
        try {
            file.parentFile?.mkdirs()
            val mode = Context.MODE_PRIVATE
            context.openOrCreateDatabase(file.path, mode, null).use { database ->
                database.setForeignKeyConstraintsEnabled(true)
                // What is deleted is overwritten: it was somebody's speech.
                database.rawQuery("PRAGMA secure_delete = ON", null).use(Cursor::moveToFirst)
                work(database)
            }
        } catch (error: SQLiteFullException) {
            throw DatabaseFailure(true, error.message.orEmpty(), error)
        } catch (error: SQLiteException) {
            throw DatabaseFailure(false, error.message.orEmpty(), error)
        }

    private class InTransaction(private val database: SQLiteDatabase) : Statements {
        override fun execute(sql: String, vararg values: Any?) = database.execSQL(sql, values)

        override fun query(sql: String, vararg values: Any?): List<List<Any?>> {
            // Android binds query values as text; these are numbers and short names, and SQLite
            // converts them by the affinity of the columns they are compared with.
            val texts = values.map { it.toString() }.toTypedArray()
            return database.rawQuery(sql, texts).use { cursor ->
                generateSequence { cursor.takeIf { it.moveToNext() } }
                    .map { row -> List(row.columnCount) { value(row, it) } }
                    .toList()
            }
        }

        private fun value(row: Cursor, column: Int): Any? =
            when (row.getType(column)) {
                Cursor.FIELD_TYPE_NULL -> null
                Cursor.FIELD_TYPE_INTEGER -> row.getLong(column)
                Cursor.FIELD_TYPE_FLOAT -> row.getDouble(column)
                Cursor.FIELD_TYPE_BLOB -> row.getBlob(column)
                else -> row.getString(column)
            }
    }
}
