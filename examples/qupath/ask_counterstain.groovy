/* Sends the tiles of the selected annotations to `counterstain serve`, and paints the answer back as tile objects.
 *
 * For QuPath 0.4 and later. Open this file in Automate > Script editor, fill in the address that the server printed,
 * select one annotation or several, and run it. Each tile is read at the model's µm/px, gets the class that the model
 * calls it, and prob_<class> as measurements: Measure > Show measurement maps colours them.
 */

import java.awt.RenderingHints
import java.awt.image.BufferedImage
import java.io.ByteArrayOutputStream
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.time.Duration
import javax.imageio.ImageIO

import qupath.lib.io.GsonTools
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.regions.RegionRequest
import qupath.lib.roi.ROIs

import static qupath.lib.scripting.QP.*

// Of the line that `counterstain serve` printed: http://127.0.0.1:8765/?token=…
def address = System.getenv('COUNTERSTAIN_URL') ?: 'http://127.0.0.1:8765'
def token = System.getenv('COUNTERSTAIN_TOKEN') ?: 'paste the token here'
def model = ''  // '' is the server's first model; /api/models lists them
def assumeMpp = null  // µm/px at which the model reads, where it does not say: 0.5
def batch = 16  // tiles of one request; the server takes 64

def client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build()
def gson = GsonTools.getInstance()

def ask = { String path, Map body = null ->
    def request = HttpRequest.newBuilder(URI.create(address + path)).timeout(Duration.ofSeconds(120))
        .header('Authorization', 'Bearer ' + token)
    if (body != null)
        request.header('Content-Type', 'application/json').POST(HttpRequest.BodyPublishers.ofString(gson.toJson(body)))
    def answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString())
    def record = gson.fromJson(answer.body(), Map)
    if (answer.statusCode() >= 300)
        throw new IOException("The server says ${answer.statusCode()}: ${record.detail}")
    return record
}

if (!model) {
    def models = ask('/api/models').models
    if (!models)
        throw new IllegalStateException('The server has no model; start it with --model, or over runs that are trained.')
    model = models[0]
}
def place = '/v2/models/' + URLEncoder.encode(model, 'UTF-8').replace('+', '%20')
def about = ask(place)
def classes = about.parameters.classes
def mpp = about.parameters.mpp ?: assumeMpp
int tilePx = about.inputs[0].shape[1] as int

def server = getCurrentServer()
def own = server.getPixelCalibration().getAveragedPixelSizeMicrons()
if (mpp == null || Double.isNaN(own as double))
    throw new IllegalStateException('The µm/px of the image and of the model are both needed: set the image\'s in its ' +
        'properties, or assumeMpp above.')
double downsample = (mpp as double) / (own as double)
int side = Math.max(1, Math.round(tilePx * downsample) as int)

// One tile as PNG, exactly as many px as the model takes; white beyond the image's edge.
def picture = { int x, int y ->
    int width = Math.min(side, server.getWidth() - x), height = Math.min(side, server.getHeight() - y)
    def region = server.readRegion(RegionRequest.createInstance(server.getPath(), downsample, x, y, width, height))
    def tile = new BufferedImage(tilePx, tilePx, BufferedImage.TYPE_INT_RGB)
    def graphics = tile.createGraphics()
    graphics.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR)
    graphics.fillRect(0, 0, tilePx, tilePx)
    graphics.drawImage(region, 0, 0, Math.round(width / downsample) as int, Math.round(height / downsample) as int, null)
    graphics.dispose()
    def stream = new ByteArrayOutputStream()
    ImageIO.write(tile, 'PNG', stream)
    return stream.toByteArray().encodeBase64().toString()
}

def chosen = getSelectedObjects().findAll { it.isAnnotation() && it.hasROI() && it.getROI().isArea() }
if (chosen.isEmpty())
    throw new IllegalStateException('Select an annotation with an area first.')
int painted = 0
for (annotation in chosen) {
    def roi = annotation.getROI()
    def plane = ImagePlane.getPlane(roi)
    int left = Math.max(0, roi.getBoundsX() as int), top = Math.max(0, roi.getBoundsY() as int)
    def right = Math.min(server.getWidth() as double, roi.getBoundsX() + roi.getBoundsWidth())
    def bottom = Math.min(server.getHeight() as double, roi.getBoundsY() + roi.getBoundsHeight())
    def corners = []
    for (int y = top; y < bottom; y += side)
        for (int x = left; x < right; x += side)
            if (roi.contains(x + side / 2 as double, y + side / 2 as double))
                corners << [x, y]
    if (corners.isEmpty()) {
        println "An annotation is smaller than half a tile (${side} px); it is left out."
        continue
    }
    def tiles = []
    for (part in corners.collate(batch)) {
        def input = [name: 'tiles', shape: [part.size()], datatype: 'BYTES', data: part.collect { picture(it[0], it[1]) }]
        def outputs = ask(place + '/infer', [inputs: [input]]).outputs.collectEntries { [it.name, it.data] }
        part.eachWithIndex { corner, row ->
            def tile = PathObjects.createTileObject(ROIs.createRectangleROI(corner[0], corner[1], side, side, plane))
            tile.setPathClass(PathClass.fromString(outputs.decision[row]))
            classes.eachWithIndex { name, k ->
                tile.getMeasurementList().put('prob_' + name, outputs.prob[row * classes.size() + k] as double)
            }
            if (outputs.distance != null)
                tile.getMeasurementList().put('distance', outputs.distance[row] as double)
            tile.getMeasurementList().close()
            tiles << tile
        }
    }
    annotation.removeChildObjects(annotation.getChildObjects().findAll { it.isTile() })  // an earlier answer
    annotation.addChildObjects(tiles)
    painted += tiles.size()
}
fireHierarchyUpdate()
println "${painted} tiles of ${model}: ${classes.join(', ')}"
